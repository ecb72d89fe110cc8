"""A refused write, field by field: what it was, what I made of it, what they did.

``Conflict`` compares three sets of values and merges them. It doesn't care
where they come from: ``error.conflict`` takes them from an instance and its
row, a form takes them from its token and its cleaned data.
"""

from __future__ import annotations

import datetime
import decimal
import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from dataclasses import field as option
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files import File
from django.db import connections, models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from optilock import memory, rollback, signals
from optilock.exceptions import (
    MergeConflict,
    RecordDeletedError,
    RecordModifiedError,
)
from optilock.fields import first_table, read_row, version_field
from optilock.memory import UNKNOWN

__all__ = ["UNKNOWN", "Conflict", "FieldChange", "FieldState", "comparable", "same"]

Same = Callable[[Any, Any, Any], bool]
#: "mine", "theirs", "base", "lines", or a function of the change.
Decision = Any


class FieldState(models.TextChoices):
    """Who changed a field, compared with the value both started from."""

    UNCHANGED = "unchanged", _("unchanged")
    MINE = "mine", _("changed by me only")
    THEIRS = "theirs", _("changed by them only")
    SAME = "same", _("changed by both to the same")
    COLLIDING = "colliding", _("changed by both differently")


@dataclass(frozen=True)
class FieldChange:
    """One field of a conflict.

    ``base`` is ``UNKNOWN`` if the value both started from wasn't kept, and
    ``theirs`` is if the row is gone.
    """

    field: models.Field[Any, Any]
    state: FieldState
    base: Any = option(repr=False)
    mine: Any = option(repr=False)
    theirs: Any = option(repr=False)

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def label(self) -> str:
        return str(self.field.verbose_name)

    @property
    def collides(self) -> bool:
        return self.state is FieldState.COLLIDING


class Conflict(Mapping[str, FieldChange]):
    """Three versions of a row: a mapping of field names to ``FieldChange``.

    Args:
        model: the model of the row.
        base: values by field name that both sides started from. A field that
            is missing, or ``UNKNOWN``, collides wherever mine and theirs differ.
        mine: the values that were to be written. They decide which fields are
            compared: a form's, or all of an instance. What the row doesn't have
            is left out, and an object stands for its key.
        theirs: the values in the row now, or the row as an instance; ``None``
            if the row is gone.
        together: groups of field names that are changed as one, like an amount
            and its currency. By default the model's ``merge_together``.
        same: ``same(field, one, other)`` says whether two values are equal, in
            place of ``optilock.conflicts.same()``. The base value always comes
            first.
        instance: the instance that ``merge()`` changes.
        using: the alias of the row's database.
        expected_version: the version that base belongs to.

    Attributes:
        theirs: the row as it is now, values by field name; ``None`` if it is
            gone.
        current_version: its version, where theirs is an instance.
    """

    def __init__(
        self,
        model: type[models.Model],
        *,
        base: Mapping[str, Any],
        mine: Mapping[str, Any],
        theirs: Mapping[str, Any] | models.Model | None,
        together: Iterable[Iterable[str]] | None = None,
        same: Same | None = None,
        instance: models.Model | None = None,
        using: str | None = None,
        expected_version: int | None = None,
    ) -> None:
        if together is None:
            together = getattr(model, "merge_together", ())
        self.model = model
        self.instance = instance
        self.using = using
        self.expected_version = expected_version
        self.current_version: int | None = None
        self.together = tuple(tuple(group) for group in together)
        self._row = theirs if isinstance(theirs, models.Model) else None
        if isinstance(theirs, models.Model):
            version = version_field(model)
            if version is not None:
                self.current_version = vars(theirs).get(version.attname)
            theirs = _values(theirs)
            # A form's cleaned data has more than the fields of the row.
            mine = {name: value for name, value in mine.items() if name in theirs}
        self.base = {name: base.get(name, UNKNOWN) for name in mine}
        self.mine = {name: _key(model, name, value) for name, value in mine.items()}
        self.theirs = None if theirs is None else {n: theirs[n] for n in mine}
        self._changes = self._compare(same or _same)

    @classmethod
    def of(
        cls,
        instance: models.Model,
        *,
        base: Mapping[str, Any] | None = None,
        row: Any = UNKNOWN,
        using: str | None = None,
        **kwargs: Any,
    ) -> Conflict:
        """Compare an instance with its row.

        Args:
            instance: what was to be written.
            base: the values it started from, by field name. By default what the
                instance remembers, if that belongs to the version it holds.
            row: the row as it is now, ``None`` if it is gone. By default it is
                read, with one query.
            using: the alias of the database, by default the instance's own.
        """
        using = using or router.db_for_write(type(instance), instance=instance)
        version = version_field(type(instance))
        if row is UNKNOWN:
            row = read_row(instance, using, instance.pk)
        if version is not None:
            kwargs.setdefault("expected_version", vars(instance).get(version.attname))
        if base is None:
            # A version set by hand says that the values came from another row than
            # the one that is remembered.
            known = _remembered_version(instance) == kwargs.get("expected_version")
            base = base_values(instance) if known else {}
        return cls(
            type(instance),
            base=base,
            mine=_values(instance),
            theirs=row,
            instance=instance,
            using=using,
            **kwargs,
        )

    def __getitem__(self, name: str) -> FieldChange:
        return self._changes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._changes)

    def __len__(self) -> int:
        return len(self._changes)

    def __bool__(self) -> bool:
        return True

    def names(self, *states: FieldState) -> list[str]:
        """Return the names of the fields in one of these states."""
        return [name for name, change in self.items() if change.state in states]

    @property
    def collisions(self) -> list[str]:
        """The names of the fields that both changed, differently."""
        return self.names(FieldState.COLLIDING)

    @property
    def deleted(self) -> bool:
        """Whether the row is gone."""
        return self.theirs is None

    def __str__(self) -> str:
        """Name the row and the fields, never a value."""
        row = self.model._meta.label
        if self.instance is not None:
            row = f"{row} with pk {self.instance.pk!r}"
        if self.deleted:
            return f"{row}: the row is gone"
        parts = [
            f"{state.value}: {', '.join(names)}"
            for state in FieldState
            if state is not FieldState.UNCHANGED and (names := self.names(state))
        ]
        return f"{row}: {'; '.join(parts) or 'no field differs'}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def describe(self) -> str:
        """Return a comparison to read, *with the values*.

        One paragraph for each field that was changed; texts of several lines
        as unified diffs.
        """
        lines = [str(self)]
        for change in self.values():
            if change.state is not FieldState.UNCHANGED:
                lines += ["", f"{change.name} ({change.state.label}):"]
                lines += _describe(change)
        return "\n".join(lines)

    def resolve(
        self, resolve: Mapping[str, Decision] | Decision | None = None
    ) -> dict[str, Any]:
        """Return the merged values by field name.

        What only one side changed is kept. For what collides, and for every
        field that is named, the decision counts:

        - ``"mine"``, ``"theirs"`` or ``"base"``;
        - ``"lines"``: merge a text line by line (needs ``optilock[merge]``);
        - a function that is called with the ``FieldChange`` and returns the
          value.

        A decision for one field of a group counts for the whole group.

        Args:
            resolve: decisions by field name, or one for all collisions.
                ``"theirs"`` alone drops *everything* of mine, as a refresh does.

        Raises:
            MergeConflict: fields collide and nothing was decided for them, or
                their lines collide, or the row is gone.
            ValueError: a decision isn't one of these, or is for a field that
                isn't compared, or two decisions disagree within a group.
        """
        if self.theirs is None:
            raise MergeConflict(self, self.names(FieldState.MINE))
        if resolve == "theirs":
            return dict(self.theirs)
        decisions = self._decisions(resolve)
        merged = {}
        undecided = []
        for name, change in self.items():
            decision = decisions.get(name, _DEFAULTS.get(change.state))
            try:
                merged[name] = _decide(change, decision)
            except _UndecidedError:
                undecided.append(name)
        if undecided:
            raise MergeConflict(self, undecided)
        return merged

    def merge(
        self, resolve: Mapping[str, Decision] | Decision | None = None
    ) -> models.Model:
        """Make the instance hold the merged values, on top of their version.

        It is then ready to be validated (``full_clean()``) and saved; what it
        remembers as loaded is their row. A third writer in between is simply
        the next conflict. If the transaction open now rolls back, so does the
        merge.

        Args:
            resolve: what to do with collisions, see ``resolve()``.

        Returns:
            The instance.

        Raises:
            MergeConflict: fields collide and nothing was decided for them, or
                the row is gone. The instance is left as it was.
        """
        if self.instance is None or (self._row is None and not self.deleted):
            raise TypeError(
                "This conflict was made from values, so there is no instance to "
                "merge into. Use resolve(), which returns the merged values."
            )
        merged = self.resolve(resolve)
        assert self._row is not None  # or resolve() would have raised
        self._adopt(self.instance, self._row, merged)
        if resolve == "theirs":
            _forget_relations(self.instance)
        return self.instance

    def _adopt(
        self, instance: models.Model, row: models.Model, merged: dict[str, Any]
    ) -> None:
        connection = connections[self.using or row._state.db or "default"]
        for name, value in merged.items():
            if value is not self.mine[name]:
                attname = self[name].field.attname
                rollback.set_until_rollback(connection, instance, attname, value)
        version = version_field(self.model)
        if version is not None:
            rollback.set_until_rollback(
                connection, instance, version.attname, vars(row)[version.attname]
            )
        loaded = memory.recall(row)
        if loaded is not None:
            memory.restore(instance, loaded, connection)

    def _compare(self, same: Same) -> dict[str, FieldChange]:
        changes = {}
        for name, mine in self.mine.items():
            model_field = self.model._meta.get_field(name)
            base = self.base[name]
            theirs = UNKNOWN if self.theirs is None else self.theirs[name]
            state = _state(model_field, base, mine, theirs, same)
            changes[name] = FieldChange(model_field, state, base, mine, theirs)  # type: ignore[arg-type]
        for group in self.together:
            states = {changes[name].state for name in group if name in changes}
            if len(states - {FieldState.UNCHANGED}) > 1:
                # One of us would get half of what the other wrote.
                for name in group:
                    if name in changes and changes[name].state in (
                        FieldState.MINE,
                        FieldState.THEIRS,
                    ):
                        changes[name] = _colliding(changes[name])
        return changes

    def _decisions(
        self, resolve: Mapping[str, Decision] | Decision | None
    ) -> dict[str, Decision]:
        if resolve is None:
            return {}
        if not isinstance(resolve, Mapping):
            _check_decision("resolve", resolve)
            return dict.fromkeys(self.collisions, resolve)
        decisions = dict(resolve)
        for name, decision in decisions.items():
            if name not in self:
                raise ValueError(
                    f"{name!r} isn't among the fields of this conflict: "
                    f"{', '.join(self)}."
                )
            _check_decision(name, decision)
        for group in self.together:
            said = {d for n in group if isinstance(d := resolve.get(n), str)}
            if len(said) > 1:
                raise ValueError(
                    f"{' and '.join(group)} move together, but are to be resolved "
                    f"as {' and '.join(sorted(said))}. Decide for one of them."
                )
            for name in group:
                if said and name in self:
                    decisions.setdefault(name, *said)
        return decisions


def base_values(instance: models.Model) -> dict[str, Any]:
    """Return what the instance was loaded with, by field name.

    Fields whose value isn't known are left out; all of them if the model has
    ``remember_loaded = False``, or if the instance was never loaded or saved.
    """
    loaded = memory.recall(instance)
    if loaded is None:
        return {}
    return {
        f.name: memory.frozen(value)
        for f, value in zip(instance._meta.concrete_fields, loaded, strict=True)
        if value is not UNKNOWN and _is_compared(f)
    }


def _remembered_version(instance: models.Model) -> Any:
    field, loaded = version_field(type(instance)), memory.recall(instance)
    if field is None or loaded is None:
        return UNKNOWN
    return loaded[instance._meta.concrete_fields.index(field)]


def save_merging(instance: models.Model, using: str, save: Callable[[], None]) -> None:
    """Save an instance; if the row was changed elsewhere, merge and save again.

    Four attempts: two as they come, and for whoever loses both, two in one
    transaction. There the row that is read in between is locked (or all of the
    database is, where rows can't be), so that the last attempt finds it as it
    was merged. In a transaction of the caller's that is so from the first.

    Args:
        instance: the instance.
        using: the alias of the database it is saved to.
        save: saves it, and raises ``RecordModifiedError`` if it is stale.

    Raises:
        RecordModifiedError: both changed one field, or the row isn't what the
            failed UPDATE saw (a snapshot, a trigger), or it was lost to others
            each time. The instance is as it was before.
        RecordDeletedError: the row is gone.
    """
    before, loaded = vars(instance).copy(), memory.recall(instance)
    conflict: Conflict | None = None

    def attempt(*, last: bool = False) -> bool:
        nonlocal conflict
        try:
            with _savepoint(instance, using):
                save()
        except RecordModifiedError as lost:
            if lost.instance is not instance:
                raise
            error = lost
            if conflict is not None:
                # Each merge starts from what the caller had.
                _restore(instance, before, loaded)
                error = _as_expected(conflict.expected_version, lost)
            if last or lost.current_version in (None, lost.expected_version):
                raise error from None
            if error.conflicts[0]._row is None:
                # It couldn't be read before the end of the attempt's savepoint.
                row = read_row(instance, error.using, error.pk, lock=True)
                error = _as_expected(error.expected_version, error, row)
            conflict = error.conflict
            try:
                _merge_by_policy(conflict)
            except MergeConflict as collision:
                raise error from collision
            return False
        return True

    with memory.merging(instance):
        if not (attempt() or attempt()):
            with transaction.atomic(using=using):
                if not attempt():
                    attempt(last=True)
    if conflict is not None:
        signals.conflict_merged.send_robust(
            type(instance), instance=instance, conflict=conflict, using=using
        )


def _savepoint(instance: models.Model, using: str) -> AbstractContextManager[Any]:
    """Keep a lost attempt from spoiling the transaction, where it could.

    That is where a parent's row is written before the one with the version.
    """
    version = version_field(type(instance))
    if version is None or first_table(instance) is version.model:
        return nullcontext()
    return transaction.atomic(using=using)


def _restore(
    instance: models.Model, before: dict[str, Any], loaded: memory.Loaded | None
) -> None:
    for model_field in instance._meta.concrete_fields:
        name = model_field.attname
        if name in before and vars(instance).get(name) is not before[name]:
            setattr(instance, name, before[name])
    memory.restore(instance, loaded)


def _as_expected(expected: Any, error: RecordModifiedError, row: Any = None) -> Any:
    """Return the error that the first attempt would have raised now."""
    gone = error.current_version is None
    return (RecordDeletedError if gone else RecordModifiedError)(
        instance=error.instance,
        using=error.using,
        expected_version=expected,
        current_version=error.current_version,
        row=error.conflicts[0]._row if row is None else row,
    )


def _merge_by_policy(conflict: Conflict) -> None:
    """Merge what doesn't overlap, and what the model has decisions for.

    A field that both changed to the same overlaps as well: two deposits of ten
    lead from 100 to 110, both, and the account must end at 120.
    """
    standing = getattr(conflict.model, "merge_resolve", {})
    overlaps = conflict.names(FieldState.SAME, FieldState.COLLIDING)
    undecided = [name for name in overlaps if name not in standing]
    if undecided:
        raise MergeConflict(conflict, undecided)
    conflict.merge({name: standing[name] for name in overlaps})


def _forget_relations(instance: Any) -> None:
    """Drop cached related objects, as ``refresh_from_db()`` does."""
    instance._prefetched_objects_cache = {}
    meta = instance._meta
    for relation in (*meta.fields, *meta.related_objects, *meta.private_fields):
        if relation.is_relation and relation.is_cached(instance):
            relation.delete_cached_value(instance)


def changed_fields(instance: models.Model) -> list[str]:
    """Return the names of the fields whose values aren't those of the row.

    A value that can't be compared, because what was loaded isn't known, counts
    as changed. A deferred field that was never touched doesn't.
    """
    base = base_values(instance)
    return [
        name
        for name, value in _values(instance).items()
        if not _is_computed(model_field := instance._meta.get_field(name))
        and not (name in base and same(model_field, base[name], value))
    ]


def same(model_field: Any, one: Any, other: Any) -> bool:
    """Return whether two values of a field are the same to the database.

    One moment in two time zones is the same, as are ``Decimal("1.5")`` and
    ``"1.50"``; ``True`` and ``1`` inside JSON aren't.
    """
    if one is UNKNOWN or other is UNKNOWN:
        return one is other
    if _equal(comparable(model_field, one), comparable(model_field, other)):
        return True
    # A field may encrypt what it prepares, differently each time.
    exact = isinstance(model_field, models.FileField | models.JSONField)
    return not exact and _equal(one, other)


_same = same  # the name is an argument's as well


def comparable(model_field: Any, value: Any) -> Any:
    """Return a value that equals another one's if the database would say so.

    What isn't a value yet, an expression or an upload that isn't stored, is
    returned as it is and equals only itself.
    """
    while isinstance(model_field, models.ForeignKey):
        model_field = model_field.target_field
    if isinstance(model_field, models.GeneratedField):
        model_field = model_field.output_field
    if hasattr(value, "resolve_expression") or value is UNKNOWN:
        return value
    try:
        return _comparable(model_field, value)
    except (TypeError, ValueError, ArithmeticError, ValidationError):
        return value  # the field couldn't save it either


def _comparable(model_field: Any, value: Any) -> Any:
    if isinstance(model_field, models.FileField):
        if isinstance(value, File) and not getattr(value, "_committed", False):
            return value  # an upload; its name says nothing yet
        return str(value or "")
    if value is None:
        return None
    if isinstance(model_field, models.JSONField):
        return json.dumps(value, cls=model_field.encoder, sort_keys=True)
    if isinstance(model_field, models.DateTimeField):
        if isinstance(value, datetime.date) and not isinstance(
            value, datetime.datetime
        ):
            value = datetime.datetime(value.year, value.month, value.day)
        value = model_field.to_python(value)
        if settings.USE_TZ and timezone.is_naive(value):
            value = timezone.make_aware(value, timezone.get_default_timezone())
        return value
    if isinstance(model_field, models.BinaryField):
        return bytes(value)
    value = model_field.get_prep_value(value)
    if isinstance(model_field, models.DecimalField):
        # As it is rounded on its way to the database.
        context = decimal.Context(prec=model_field.max_digits or 28)
        places = decimal.Decimal(1).scaleb(-(model_field.decimal_places or 0))
        return value.quantize(places, context=context)
    return value


def _key(model: type[models.Model], name: str, value: Any) -> Any:
    if not isinstance(value, models.Model):
        return value
    relation: Any = model._meta.get_field(name)
    return getattr(value, relation.target_field.attname)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, File) or isinstance(other, File):
        return one is other  # Django compares their names
    try:
        return one is other or bool(one == other)
    except (TypeError, ValueError):
        return False


def _is_compared(model_field: Any) -> bool:
    """Return whether a field is part of what people change."""
    model = model_field.model
    remote = model_field.remote_field
    return not (
        model_field in model._meta.pk_fields
        or model_field is version_field(model)
        or (remote is not None and getattr(remote, "parent_link", False))
    )


def _is_computed(model_field: Any) -> bool:
    """Return whether the write itself sets the field, whatever its value was."""
    return getattr(model_field, "generated", False) or getattr(
        model_field, "auto_now", False
    )


def _values(instance: models.Model) -> dict[str, Any]:
    """Return the values of an instance that aren't deferred, by field name."""
    values = vars(instance)
    return {
        f.name: memory.frozen(value) if isinstance(value, dict | list) else value
        for f in instance._meta.concrete_fields
        if (value := values.get(f.attname, UNKNOWN)) is not UNKNOWN and _is_compared(f)
    }


def _state(
    model_field: Any, base: Any, mine: Any, theirs: Any, same: Same
) -> FieldState:
    computed = _is_computed(model_field)
    if base is UNKNOWN:
        if theirs is UNKNOWN:
            return FieldState.MINE
        equal = same(model_field, mine, theirs)
        if computed:
            return FieldState.UNCHANGED if equal else FieldState.THEIRS
        return FieldState.SAME if equal else FieldState.COLLIDING
    i_did = not computed and not same(model_field, base, mine)
    they_did = theirs is not UNKNOWN and not same(model_field, base, theirs)
    if i_did and they_did:
        equal = same(model_field, mine, theirs)
        return FieldState.SAME if equal else FieldState.COLLIDING
    if i_did:
        return FieldState.MINE
    return FieldState.THEIRS if they_did else FieldState.UNCHANGED


def _colliding(change: FieldChange) -> FieldChange:
    return FieldChange(
        change.field, FieldState.COLLIDING, change.base, change.mine, change.theirs
    )


_DEFAULTS = {
    FieldState.UNCHANGED: "mine",
    FieldState.MINE: "mine",
    FieldState.THEIRS: "theirs",
    FieldState.SAME: "theirs",
}


class _UndecidedError(Exception):
    """Nobody said what is to become of a collision."""


def is_decision(decision: Decision) -> bool:
    """Return whether ``Conflict.resolve()`` understands the decision."""
    return callable(decision) or decision in ("mine", "theirs", "base", "lines")


def _check_decision(name: str, decision: Decision) -> None:
    if not is_decision(decision):
        raise ValueError(
            f"{name}: {decision!r} isn't a decision. Use 'mine', 'theirs', 'base', "
            f"'lines', or a function that returns the value."
        )


def _decide(change: FieldChange, decision: Decision) -> Any:
    if decision is None:
        raise _UndecidedError
    if callable(decision):
        return decision(change)
    if decision == "lines":
        if not change.collides:
            return _decide(change, _DEFAULTS[change.state])
        return merge_lines(change)
    value = getattr(change, decision)
    if value is UNKNOWN:
        raise _UndecidedError
    return value


def merge_lines(change: FieldChange) -> str:
    """Merge two changed texts line by line."""
    texts: Sequence[Any] = (change.base, change.mine, change.theirs)
    if not all(isinstance(text, str) for text in texts):
        raise _UndecidedError
    try:
        from merge3 import Merge3
    except ImportError as error:
        raise ImportError(
            "Merging texts by lines needs merge3: pip install 'optilock[merge]'."
        ) from error
    base, mine, theirs = (text.splitlines(keepends=True) for text in texts)
    merged: list[str] = []
    for kind, *lines in Merge3(base, mine, theirs).merge_groups():
        if kind == "conflict":
            raise _UndecidedError
        merged += lines[0]
    return "".join(merged)


def _describe(change: FieldChange) -> list[str]:
    base, mine, theirs = (
        "(unknown)" if value is UNKNOWN else "(empty)" if value in (None, "") else value
        for value in (change.base, change.mine, change.theirs)
    )
    if all(isinstance(v, str) for v in (base, mine, theirs)) and any(
        "\n" in v for v in (base, mine, theirs)
    ):
        return [
            line.rstrip("\n")
            for name, text in (("mine", mine), ("theirs", theirs))
            for line in difflib.unified_diff(
                base.splitlines(), text.splitlines(), "base", name, lineterm=""
            )
        ]
    return [f"  base:   {base}", f"  mine:   {mine}", f"  theirs: {theirs}"]
