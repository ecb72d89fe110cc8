"""The values of a conflict as a person would write them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import formats, timezone
from django.utils.choices import flatten_choices
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext

from optilock.conflicts import UNKNOWN
from optilock.forms import tokens
from optilock.forms.recreate import as_opened
from optilock.panel.isolating import isolate
from optilock.panel.marking import LONG, beginning, mark, remark
from optilock.rows import ModelField, target_field

if TYPE_CHECKING:
    from optilock.differences import Budget
    from optilock.forms.conflict import FormConflict
    from optilock.three_way import TextMerge

__all__ = [
    "MANY_NAMES",
    "as_text",
    "label",
    "labels",
    "name_of",
    "row_title",
    "saved_object",
    "show",
    "text",
    "title_of",
]

#: Of how many related objects the names are looked up.
MANY_NAMES = 1_000


def label(conflict: FormConflict, name: str) -> str:
    """Return the field's label as it stands on the form."""
    return str(capfirst(conflict.form[name].label or conflict[name].label))


def labels(conflict: FormConflict, names: Iterable[str]) -> str:
    """Return the labels of fields that are one, for a heading."""
    return gettext(", ").join(isolate(label(conflict, name)) for name in names)


def row_title(row: models.Model) -> str:
    """Return what people call a row among others: ``Line “Pen”``."""
    return gettext("%(name)s “%(object)s”") % {
        "name": isolate(capfirst(row._meta.verbose_name)),
        "object": isolate(name_of(row)),
    }


def title_of(conflict: FormConflict) -> str:
    """Return what people call the row of a conflict, as far as they may know."""
    if not conflict.is_hidden:
        return row_title(saved_object(conflict))
    # Its __str__() may tell what happened to it.
    return f"{capfirst(conflict.model._meta.verbose_name)} #{conflict.form.instance.pk}"


def name_of(row: models.Model) -> str:
    """Return ``str(row)``, or the key if there is too little left of the row."""
    try:
        return str(row)
    except Exception:  # somebody's __str__(), of a row that has only what a form had
        return f"#{row.pk}"


def saved_object(conflict: FormConflict) -> models.Model:
    """Return the object as it is saved, or was when it was opened; not as typed."""
    locked = conflict.form._optilock.locked
    if locked is not None:
        return locked
    found: models.Model = conflict.instance
    if not conflict.too_old:
        found = as_opened(conflict.model, found.pk, conflict.opened)
    return found


def _value(conflict: FormConflict, name: str, side: str) -> object:
    if side == "merged":
        return conflict.merges.settled.get(name, conflict[name].mine)
    return getattr(conflict[name], side)


def show(conflict: FormConflict, name: str, side: str) -> SafeString:
    """Return one side's value as HTML, with what differs from base marked.

    Of a text that is merged, these are the passages that both have changed. What
    other fields were merged to is the side "merged".
    """
    # A page asks for the same again: the others are compared with it.
    shown = conflict.shown
    if (name, side) not in shown:
        shown[name, side] = _show(conflict, name, side)
    return shown[name, side]


def _show(conflict: FormConflict, name: str, side: str) -> SafeString:
    is_digested = side == "base" and name in conflict.digested
    if _value(conflict, name, side) is UNKNOWN and not is_digested:
        return remark(gettext("(not known any more)"))
    if conflict.form._optilock.comparison.is_secret(name):
        return remark(
            gettext("(not shown)") if side == "base" else gettext("(changed)")
        )
    if (merge := conflict.merges.texts.get(name)) and merge.overlaps:
        return _show_passages(merge, side, conflict.budget)
    shown = text(conflict, name, side)
    if shown is None:
        return remark(gettext("(too long to be kept)"))
    if shown == "":
        return remark(gettext("(empty)"))
    if side == "base" or not isinstance(
        conflict[name].field, models.CharField | models.TextField | tokens.FormValue
    ):
        return _fold(shown, format_html("{}", beginning(shown)))
    # Where base wasn't kept, mine is compared with what is there now.
    base = text(conflict, name, "base")
    start = text(conflict, name, "theirs") if base is None else base
    if not start or start == shown:
        return _fold(shown, format_html("{}", beginning(shown)))
    marked = mark(start, shown, shorten=len(shown) > LONG, budget=conflict.budget)
    if base is None and "</" in marked:
        note = remark(gettext("(compared with what is saved now)"))
        marked = format_html("{} {}", note, marked)
    return _fold(shown, marked)


def _show_passages(merge: TextMerge, side: str, budget: Budget) -> SafeString:
    """Return the passages of a text that both have changed, with what differs."""
    parts = []
    for overlap in merge.overlaps:
        start, end = ("\n".join(getattr(overlap, one)) for one in ("base", side))
        if not end.strip():
            parts.append(remark(gettext("(empty)")))
        elif side == "base" or not start.strip():
            parts.append(format_html("{}", beginning(end)))
        else:
            parts.append(mark(start, end, shorten=len(end) > LONG, budget=budget))
    whole = merge.text(side)  # type: ignore[arg-type]  # it is one
    return _fold(whole, format_html_join("\n…\n", "{}", ((one,) for one in parts)))


def _fold(whole: str, part: SafeString) -> SafeString:
    if len(whole) <= LONG:
        return part
    return format_html(
        "{}{}<details><summary>{}</summary>{}</details>",
        part,
        "" if part.endswith(("…", "</ins>", "</del>")) else "…",
        gettext("The whole text"),
        whole,
    )


def text(conflict: FormConflict, name: str, side: str) -> str | None:
    """Return one side's value as text, ``None`` if it isn't known."""
    field, value = conflict[name].field, _value(conflict, name, side)
    if value is UNKNOWN:
        return None
    shown = as_text(field, value, conflict.form.fields[name])
    return shown.replace("\r\n", "\n")  # a form changes the ends of lines


def as_text(
    field: ModelField, value: Any, form_field: forms.Field | None = None
) -> str:
    """Return a field's value as a person would write it.

    Args:
        field: the model's field.
        value: its value; of a relation an object or a key.
        form_field: the field of the person's form, which knows the objects they
            may see. Of other objects only the key is told.
    """
    if field.many_to_many:
        return gettext(", ").join(_related(field, form_field, list(value or ())))
    if value is None or value == "":
        return ""
    if isinstance(field, tokens.FormValue):
        return gettext(", ").join(_chosen(form_field, value))
    if field.is_relation:
        return next(iter(_related(field, form_field, [value])))
    if field.flatchoices:
        return str(dict(field.flatchoices).get(value, value))
    if isinstance(field, models.FileField):
        return gettext("(removed)") if value is False else str(value)
    if isinstance(field, models.JSONField) and not isinstance(value, str):
        return json.dumps(value, indent=2, ensure_ascii=False, cls=field.encoder)
    if isinstance(value, bool):
        return gettext("Yes") if value else gettext("No")
    if isinstance(value, datetime.datetime) and timezone.is_aware(value):
        value = timezone.localtime(value)
    return str(formats.localize(value))


def _chosen(form_field: Any, value: object) -> Iterator[str]:
    """Yield what a form calls a value that isn't the model's."""
    values = value if isinstance(value, list | tuple | models.QuerySet) else [value]
    if hasattr(form_field, "queryset"):
        to = form_field.to_field_name or "pk"
        keys = [
            str(getattr(v, to) if isinstance(v, models.Model) else v) for v in values
        ]
        try:
            rows = list(form_field.queryset.filter(**{f"{to}__in": keys[:MANY_NAMES]}))
        except (TypeError, ValueError, ValidationError):
            rows = []  # what was typed isn't a key at all
        names = {str(getattr(r, to)): form_field.label_from_instance(r) for r in rows}
        yield from (names.get(key, f"#{key}") for key in keys)
        return
    choices: Iterator[tuple[object, object]] = flatten_choices(
        getattr(form_field, "choices", None) or ()
    )
    names = {str(key): str(name) for key, name in choices}
    for one in values:
        if isinstance(one, bool):
            yield gettext("Yes") if one else gettext("No")
        else:
            yield names.get(str(one)) or str(formats.localize(one))


def _related(
    field: ModelField, form_field: forms.Field | None, values: list[object]
) -> Iterator[str]:
    """Yield what objects are called, given themselves or their keys."""
    if form_field is None:  # not from a form, so whoever gives objects shows them
        for value in values:
            yield str(value) if isinstance(value, models.Model) else f"#{value}"
        return
    keys = [_key(field, value) for value in values]
    rows = _visible(field, form_field, keys)
    names = {
        str(_key(field, row)): getattr(form_field, "label_from_instance", str)(row)
        for row in rows
    }
    for key in keys:
        yield names.get(str(key), f"#{key}")


def _key(field: ModelField, value: object) -> object:
    if not isinstance(value, models.Model):
        return value
    if field.many_to_many:
        return value.pk
    return getattr(value, target_field(field).attname)


def _visible(
    field: ModelField, form_field: forms.Field | None, keys: list[object]
) -> Iterable[models.Model]:
    """Return the objects with these keys that the form lets a person choose."""
    rows = getattr(form_field, "queryset", None)
    if not keys or not isinstance(rows, models.QuerySet):
        return []
    target = target_field(field)
    valid = []
    for key in keys[:MANY_NAMES]:
        with suppress(ValidationError):  # what was typed isn't a key at all
            valid.append(target.to_python(key))
    try:
        return list(rows.filter(**{f"{target.name}__in": valid}))
    except (TypeError, ValueError, OverflowError):
        return []
