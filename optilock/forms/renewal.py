"""A form that is open, brought up to date where nothing was typed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from django import forms

from optilock.forms import tokens
from optilock.forms.form import VersionedFormMixin

__all__ = ["Renewal", "changed_fields", "renew"]


@dataclass(frozen=True)
class Renewal:
    """What an open form may show now.

    Attributes:
        shown: the names of the fields that have new values.
        left: the names of those that were changed, too, and stay as they are.
        row: the row as the form shows it then, for its token.
    """

    shown: list[str]
    left: list[str]
    row: tokens.OpenedRow


def changed_fields(form: VersionedFormMixin, opened: tokens.OpenedRow) -> list[str]:
    """Return the names of the form's fields that somebody else has changed since.

    Args:
        form: one for the row as it is now.
        opened: the row as the page showed it.
    """
    comparison = form._optilock.comparison
    return [
        name
        for name in comparison.fields
        if name in opened.base and comparison.did_they(name, opened.base[name])
    ]


def renew(
    form: VersionedFormMixin, opened: tokens.OpenedRow, *, touched: Collection[str]
) -> Renewal:
    """Return what an open form may show now.

    Fields that count as one are only renewed if none of them was touched.

    Args:
        form: one for the row as it is now, as if it were just opened.
        opened: the row as the page shows it.
        touched: the names of inputs that aren't as they were.
    """
    changed, now = changed_fields(form, opened), form._optilock.next_row()
    held = {name for name in form.fields if _is_among(form.add_prefix(name), touched)}
    for group in _groups(form):
        if not held.isdisjoint(group):
            held.update(group)
    shown = [
        name
        for name in changed
        if name not in held
        and name in now.base
        and name not in form._optilock.comparison.unseen
        and not form._optilock.comparison.is_secret(name)
        and not isinstance(form.fields[name], forms.FileField)
        and not opened.shown  # a page that asks, with inputs as they were typed
    ]
    base = {**opened.base, **{name: now.base[name] for name in shown}}
    # Of what the token doesn't tell, the version has to say whether it was changed.
    version = now.version if now.base.keys() <= base.keys() else opened.version
    return Renewal(
        shown=shown,
        left=[name for name in changed if name not in shown],
        row=replace(opened, version=version, base=base),
    )


def _is_among(name: str, inputs: Iterable[str]) -> bool:
    """Return whether one of a field's inputs is among these, as in ``when_0``."""
    begins = (f"{name}_", f"{name}-")
    return any(one == name or one.startswith(begins) for one in inputs)


def _groups(form: VersionedFormMixin) -> Iterable[Iterable[str]]:
    if form.merge_together is not None:
        return form.merge_together
    groups: Iterable[Iterable[str]] = getattr(form._meta.model, "merge_together", ())
    return groups
