"""A conflict as a person sees it: who, what, and a choice for each collision."""

from __future__ import annotations

import datetime
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.template.loader import render_to_string
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timesince import timesince
from django.utils.translation import (
    get_language_bidi,
    gettext,
    ngettext,
    ngettext_lazy,
)

from optilock import tokens
from optilock.conflicts import UNKNOWN, FieldState

if TYPE_CHECKING:
    from optilock.forms import FormConflict

#: From how many characters a value is shown in part, the whole on demand.
LONG = 300
#: How much of what is the same is shown around a difference.
AROUND = 60
#: Up to this many words, there is time to find the best differences.
FEW_WORDS = 3_000
#: Beyond this many words, looking for differences would take too long.
MANY_WORDS = 20_000

# Django's own words for a length of time have the wrong case in front of "ago" in
# some languages.
_AGO: dict[str, Any] = {
    "year": ngettext_lazy("%(num)d year ago", "%(num)d years ago", "num"),
    "month": ngettext_lazy("%(num)d month ago", "%(num)d months ago", "num"),
    "week": ngettext_lazy("%(num)d week ago", "%(num)d weeks ago", "num"),
    "day": ngettext_lazy("%(num)d day ago", "%(num)d days ago", "num"),
    "hour": ngettext_lazy("%(num)d hour ago", "%(num)d hours ago", "num"),
    "minute": ngettext_lazy("%(num)d minute ago", "%(num)d minutes ago", "num"),
}

# Languages that are written without spaces are compared by the character.
# To Python, the vowel signs and joiners inside an Arabic or Hindi word are no part of
# it: a word goes on with whatever isn't a space or punctuation.
_WORDS = re.compile(
    r"[\u3040-\u9fff]"
    r"|[^\W\u3040-\u9fff]"
    r"(?:[^\W\u3040-\u9fff]"
    r"|[^\w\s\x00-\xbf،؛؟।॥\u2010-\u206f\u3000-\u9fff\uff00-\uff0f])*"
    r"|\s+|.",
    re.DOTALL,
)


@dataclass(frozen=True)
class Author:
    """Who made a change, and when.

    Attributes:
        name: the person's name; empty if it isn't known.
        when: the moment; ``None`` if it isn't known.
        is_self: whether it was the person who is looking at the page.
    """

    name: str = ""
    when: datetime.datetime | None = None
    is_self: bool = False


def tell_who(subject: Any, author: Author, *, deleted: bool = False) -> str:
    """Return a sentence that says who changed something, and when."""
    values = {
        "object": isolate(subject),
        "user": isolate(author.name),
        "when": _ago(author.when),
    }
    if deleted and author.name:
        sentence = gettext("%(user)s deleted “%(object)s” %(when)s.")
    elif deleted:
        sentence = gettext("“%(object)s” is not there any more, or not visible to you.")
    elif author.is_self:
        sentence = gettext("You changed “%(object)s” in another window %(when)s.")
    elif author.name:
        sentence = gettext(
            "%(user)s changed “%(object)s” %(when)s, after you opened this page."
        )
    else:
        sentence = gettext("“%(object)s” was changed after you opened this page.")
    return sentence % values


def isolate(value: Any) -> str:
    """Return a value as text for a sentence that may run the other way.

    Without the invisible characters around it (Unicode's FSI and PDI), a name in
    Latin letters would take the punctuation of an Arabic sentence with it.
    """
    text = str(value)
    if text and (
        get_language_bidi()
        or any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)
    ):
        return f"\u2068{text}\u2069"
    return text


def _ago(when: datetime.datetime | None) -> str:
    if when is None or timezone.now() - when < datetime.timedelta(minutes=1):
        return gettext("a moment ago")
    return timesince(when, time_strings=_AGO, depth=1)


def render(
    conflicts: Iterable[FormConflict],
    *,
    subject: Any,
    author: Author = Author(),
    added: Iterable[models.Model] = (),
    **context: Any,
) -> SafeString:
    """Return the conflicts of a page as HTML, for inside its form.

    Args:
        conflicts: that of the page's own form first, if there is one.
        subject: the object the page is about.
        author: who changed it.
        added: rows that somebody else has added, for which there are no forms.
        context: more for the template, as ``reload_url``.
    """
    conflicts = list(conflicts)
    sections = [_section(conflict) for conflict in conflicts]
    deleted = any(c.deleted and not c.form.formset for c in conflicts)
    count = sum(section["count"] for section in sections)
    came = [row_title(row) for row in added]
    merged = sum(len(s["merged"]) + s["vanished"] for s in sections) + len(came)
    return render_to_string(
        "optilock/conflict.html",
        {
            "sections": sections,
            "count": count,
            "merged": merged,
            "added": came,
            "deleted": deleted,
            "too_old": any(c.too_old for c in conflicts),
            "who": tell_who(subject, author, deleted=deleted),
            "is_self": author.is_self,
            "user": "" if author.is_self else isolate(author.name),
            "summary": _summary(merged, count),
            **context,
        },
    )


def _summary(merged: int, count: int) -> str:
    parts = []
    if merged:
        parts.append(
            ngettext(
                "%(n)s change was merged for you.",
                "%(n)s changes were merged for you.",
                merged,
            )
            % {"n": merged}
        )
    if count:
        parts.append(
            ngettext(
                "%(n)s change needs your decision.",
                "%(n)s changes need your decision.",
                count,
            )
            % {"n": count}
        )
    return " ".join(parts)


def _section(conflict: FormConflict) -> dict[str, Any]:
    questions = [] if conflict.question else list(_questions(conflict))
    merged = [] if conflict.question else conflict.merged
    row = (
        _row_question(conflict) if conflict.question and conflict.form.formset else None
    )
    return {
        # The instance holds what was typed, which may not even be valid.
        "title": row_title(saved_object(conflict)) if conflict.form.formset else "",
        "vanished": conflict.vanished,
        "questions": questions,
        "row": row,
        "count": len(questions) + bool(row),
        "merged": [
            {
                "label": label(conflict, name),
                "base": show(conflict, name, "base"),
                "theirs": show(conflict, name, "theirs"),
            }
            for name in merged
        ],
    }


def row_title(row: models.Model) -> str:
    """Return what people call a row among others: ``Line “Pen”``."""
    return gettext("%(name)s “%(object)s”") % {
        "name": isolate(capfirst(row._meta.verbose_name)),
        "object": isolate(name_of(row)),
    }


def name_of(row: models.Model) -> str:
    """Return ``str(row)``, or the key if there is too little left of the row."""
    try:
        return str(row)
    except Exception:  # somebody's __str__(), of a row that has only what a form had
        return f"#{row.pk}"


def saved_object(conflict: FormConflict) -> Any:
    """Return the object as it is saved, not as it was typed."""
    locked = conflict.form._locked
    return conflict.instance if locked is None else locked


def _questions(conflict: FormConflict) -> Iterable[dict[str, Any]]:
    for group in conflict.groups(FieldState.COLLIDING):
        choice = conflict.decisions.get(group[0], "")
        yield {
            "label": labels(conflict, group),
            "input": conflict.input_name(group),
            "choice": choice,
            "field_id": conflict.form[group[0]].id_for_label,
            "base": [show(conflict, name, "base") for name in group],
            "theirs": [show(conflict, name, "theirs") for name in group],
            "mine": [show(conflict, name, "mine") for name in group],
        }


def _row_question(conflict: FormConflict) -> dict[str, Any]:
    if conflict.question == "deleted":
        names = conflict.names(FieldState.MINE)
        side, can_restore = "mine", conflict.form.formset.can_restore
        theirs, mine = (
            gettext("Leave it deleted"),
            gettext("Add it again, with my values"),
        )
        fact = gettext("Was deleted, and you have changed it.")
    else:
        names = conflict.names(FieldState.THEIRS, FieldState.COLLIDING, FieldState.SAME)
        side, can_restore = "theirs", True
        theirs, mine = gettext("Keep it"), gettext("Delete it anyway")
        fact = gettext("Was changed, and you want to delete it.")
    return {
        "fact": fact,
        "values": [
            {
                "label": label(conflict, name),
                "base": show(conflict, name, "base"),
                "value": show(conflict, name, side),
            }
            for name in names
        ],
        "input": conflict.input_name([""]),
        "choice": conflict.answer,
        "choices": [("theirs", theirs), *([("mine", mine)] if can_restore else [])],
    }


def label(conflict: FormConflict, name: str) -> str:
    """Return the field's label as it stands on the form."""
    return str(capfirst(conflict.form[name].label or conflict[name].label))


def labels(conflict: FormConflict, names: Iterable[str]) -> str:
    """Return the labels of fields that are one, for a heading."""
    return gettext(", ").join(isolate(label(conflict, name)) for name in names)


def show(conflict: FormConflict, name: str, side: str) -> SafeString:
    """Return one side's value as HTML, with what differs from base marked."""
    values = {s: text(conflict, name, s) for s in ("base", "theirs", "mine")}
    shown = values[side]
    if getattr(conflict[name], side) is UNKNOWN:
        return _remark(gettext("(not known any more)"))
    if shown is None:
        return _remark(gettext("(too long to be kept)"))
    if shown == "":
        return _remark(gettext("(empty)"))
    if side == "base" or not isinstance(
        conflict[name].field, models.CharField | models.TextField
    ):
        return _fold(shown, format_html("{}", _beginning(shown)))
    # Where base wasn't kept, mine is compared with what is there now.
    start = values["base"] if values["base"] is not None else values["theirs"]
    if not start or start == shown:
        return _fold(shown, format_html("{}", _beginning(shown)))
    return _fold(shown, mark(start, shown, shorten=len(shown) > LONG))


def _beginning(text: str) -> str:
    return text if len(text) <= LONG else text[: LONG // 2]


def _remark(text: str) -> SafeString:
    return format_html('<span class="optilock-remark">{}</span>', text)


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


def mark(start: str, end: str, *, shorten: bool = False) -> SafeString:
    """Return the end as HTML, with ``<ins>`` and ``<del>`` for what changed."""
    old, new = _WORDS.findall(start), _WORDS.findall(end)
    plain = _beginning(end) if shorten else end
    if len(old) + len(new) > MANY_WORDS:
        return format_html("{}", plain)
    pairs = list(_differences(old, new))
    same = sum(len(removed) for removed, added in pairs if removed == added)
    if same < 0.3 * max(len(start), len(end)):  # another text: marks would confuse
        return format_html("{}", plain)
    parts: list[tuple[str, str, str]] = []  # the same, deleted, inserted
    for removed, added in pairs:
        if removed == added and (removed.strip() or not parts):
            parts.append((removed, "", ""))
        elif parts and not parts[-1][0]:  # words in a row read as one change
            _, before, after = parts.pop()
            parts.append(("", before + removed, after + added))
        else:
            parts.append(("", removed, added))
    return format_html_join(
        "", "{}{}{}", (_marked(parts, i, shorten) for i in range(len(parts)))
    )


def _differences(old: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what follows each other in two texts, in pairs: the same, or a change."""
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    shorter -= head
    tail = next((i for i in range(shorter) if old[-1 - i] != new[-1 - i]), shorter)
    yield "".join(old[:head]), "".join(new[:head])
    # Most people change a text in one place, which leaves little to compare.
    old_end, new_end = len(old) - tail, len(new) - tail
    changed = old[head:old_end], new[head:new_end]
    # What it does by itself to be quick overlooks words that come again and again.
    autojunk = len(changed[0]) + len(changed[1]) > FEW_WORDS
    matcher = difflib.SequenceMatcher(None, *changed, autojunk=autojunk)
    for _, a, b, c, d in matcher.get_opcodes():
        yield "".join(changed[0][a:b]), "".join(changed[1][c:d])
    yield "".join(old[old_end:]), "".join(new[new_end:])


def _marked(
    parts: list[tuple[str, str, str]], index: int, shorten: bool
) -> tuple[Any, Any, Any]:
    same, removed, added = parts[index]
    if shorten and len(same) > 3 * AROUND:
        head = same[:AROUND] if index else ""
        tail = same[-AROUND:] if index + 1 < len(parts) else ""
        same = f"{head}…{tail}"
    return same, _tag("del", removed), _tag("ins", added)


def _tag(name: str, content: str) -> SafeString | str:
    return format_html("<{0}>{1}</{0}>", name, content) if content else ""


def text(conflict: FormConflict, name: str, side: str) -> str | None:
    """Return one side's value as text, ``None`` if it isn't known."""
    from optilock.forms import Opened, Typed

    field, value = conflict[name].field, getattr(conflict[name], side)
    if value is UNKNOWN or (
        isinstance(value, Opened) and tokens.is_digest(value.frozen)
    ):
        return None
    if isinstance(value, Opened):
        value = tokens.thaw(field, value.frozen)
    elif isinstance(value, Typed):
        value = value.value
    shown = as_text(field, value, conflict.form.fields[name])
    return shown.replace("\r\n", "\n")  # a form changes the ends of lines


def as_text(field: Any, value: Any, form_field: forms.Field | None = None) -> str:
    """Return a field's value as a person would write it."""
    if field.many_to_many:
        return gettext(", ").join(_related(field, form_field, value or ()))
    if value in (None, ""):
        return ""
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
    if isinstance(value, datetime.datetime):
        if timezone.is_aware(value):
            value = timezone.localtime(value)
        return str(formats.localize(value))
    return str(formats.localize(value))


def _related(field: Any, form_field: Any, values: Iterable[Any]) -> Iterable[str]:
    name = getattr(form_field, "label_from_instance", str)
    for value in values:
        if isinstance(value, models.Model):
            yield name(value)
            continue
        target = "pk" if field.many_to_many else field.target_field.name
        rows = field.remote_field.model._base_manager
        try:
            related = rows.filter(**{target: value}).first()
        except (TypeError, ValueError, ValidationError):
            related = None  # what was typed isn't a key at all
        yield name(related) if related is not None else f"#{value}"
