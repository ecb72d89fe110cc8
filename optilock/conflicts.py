"""A refused write, field by field: what was there, what I wanted, what they saved.

``Conflict`` compares three sets of values and merges them. It doesn't care
where they come from: ``error.conflict`` takes them from an instance and its
row, a form takes them from its token and its cleaned data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.db import connections, models, router

from optilock import differences, loaded, rollback
from optilock.changes import (
    Changes,
    FieldChange,
    FieldState,
    as_groups,
    compare,
    describe,
)
from optilock.decisions import Decision, MergeConflict, decide, decisions_for
from optilock.loaded import UNKNOWN
from optilock.rows import read_row, version_field
from optilock.values import _key, _values, base_values, comparable, same

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from optilock.loaded import _Unknown

    class _Options(TypedDict, total=False):
        merge_together: Iterable[Iterable[str]] | None
        expected_version: int | None

    class _AllOptions(_Options, total=False):
        instance: models.Model | None
        using: str | None


__all__ = ["UNKNOWN", "Conflict", "FieldChange", "FieldState", "comparable", "same"]


class Conflict(Changes):
    """Three versions of a row: a mapping of field names to ``FieldChange``.

    Args:
        model: the model of the row.
        base: values by field name that both sides started from. A field that
            is missing, or ``UNKNOWN``, collides wherever mine and theirs differ.
        mine: the values that were to be written. They decide which fields are
            compared: a form's, or all of an instance. What the row doesn't have
            is left out, and an object stands for its key.
        theirs: the values in the row now, or the row as an instance; ``None``
            if the row was deleted.
        merge_together: groups of field names that are changed as one, like an amount
            and its currency. By default the model's ``merge_together``.
        instance: the instance that ``merge()`` changes.
        using: the alias of the row's database.
        expected_version: the version that base belongs to.

    Attributes:
        theirs: the row as it is now, values by field name; ``None`` if it was
            deleted.
        current_version: its version, where theirs is an instance.
    """

    def __init__(
        self,
        model: type[models.Model],
        *,
        base: Mapping[str, Any],
        mine: Mapping[str, object],
        theirs: Mapping[str, Any] | models.Model | None,
        merge_together: Iterable[Iterable[str]] | None = None,
        instance: models.Model | None = None,
        using: str | None = None,
        expected_version: int | None = None,
    ) -> None:
        if merge_together is None:
            merge_together = getattr(model, "merge_together", ())
        self.model = model
        self.instance = instance
        self.using = using
        self.expected_version = expected_version
        self.current_version: int | None = None
        self.merge_together = tuple(tuple(group) for group in merge_together)
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
        changes = compare(model, self.base, self.mine, self.theirs)
        self._changes = as_groups(changes, self.merge_together)

    @classmethod
    def of(
        cls,
        instance: models.Model,
        *,
        base: Mapping[str, object] | None = None,
        row: models.Model | _Unknown | None = UNKNOWN,
        using: str | None = None,
        **kwargs: Unpack[_Options],
    ) -> Conflict:
        """Compare an instance with its row.

        Args:
            instance: what was to be written.
            base: the values it started from, by field name. By default what the
                instance remembers, if that belongs to the version it holds.
            row: the row as it is now, ``None`` if it was deleted. By default it
                is read, with one query.
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

    @classmethod
    def from_changes(
        cls,
        model: type[models.Model],
        changes: Iterable[FieldChange],
        *,
        deleted: bool = False,
        **kwargs: Unpack[_AllOptions],
    ) -> Conflict:
        """Take fields over that were compared already, in a way of one's own.

        Args:
            model: the model of the row.
            changes: the fields, which needn't all be the model's.
            deleted: whether the row was deleted.
            kwargs: as for ``Conflict``.
        """
        conflict = cls(model, base={}, mine={}, theirs=None, **kwargs)
        found = {change.name: change for change in changes}
        conflict.base = {name: change.base for name, change in found.items()}
        conflict.mine = {name: change.mine for name, change in found.items()}
        if not deleted:
            conflict.theirs = {name: one.theirs for name, one in found.items()}
        conflict._changes = as_groups(found, conflict.merge_together)
        return conflict

    @property
    def deleted(self) -> bool:
        """Whether the row was deleted."""
        return self.theirs is None

    def __str__(self) -> str:
        """Name the row and the fields, never a value."""
        row = self.model._meta.label
        if self.instance is not None:
            row = f"{row} with pk {self.instance.pk!r}"
        if self.deleted:
            return f"{row}: the row was deleted"
        parts = [
            f"{state.value}: {', '.join(names)}"
            for state in FieldState
            if state is not FieldState.UNCHANGED and (names := self.names(state))
        ]
        return f"{row}: {'; '.join(parts) or 'no field differs'}"

    def describe(self) -> str:
        """Return a comparison to read, *with the values*.

        One paragraph for each field that was changed; texts of several lines
        as unified diffs.
        """
        lines, budget = [str(self)], differences.Budget()
        for change in self.values():
            if change.state is not FieldState.UNCHANGED:
                lines += ["", f"{change.name} ({change.state.label}):"]
                lines += describe(change, budget)
        return "\n".join(lines)

    def resolve(
        self, decisions: Mapping[str, Decision] | Decision | None = None
    ) -> dict[str, Any]:
        """Return the merged values by field name.

        What only one side changed is kept. For what collides, and for every
        field that is named, the decision counts:

        - ``"mine"``, ``"theirs"`` or ``"base"``;
        - ``"lines"``: merge a text line by line (needs ``optilock[merge]``);
        - ``"elements"``: merge a list as a set, ``"keys"``: an object of JSON;
        - ``"ask"``: leave it undecided, whatever else is said of it;
        - a function that is called with the ``FieldChange`` and returns the
          value. If it asks for a base that isn't known, nothing is decided.

        A decision for one field of a group counts for the whole group.

        Args:
            decisions: decisions by field name, or one for all collisions.
                ``"theirs"`` alone drops *everything* of mine, as a refresh does.

        Raises:
            MergeConflict: fields collide and nothing was decided for them, or
                their lines collide, or a decision needs a base that isn't known,
                or the row was deleted.
            ValueError: a decision isn't one of these, or is for a field that
                isn't compared, or two decisions disagree within a group.
        """
        if self.theirs is None:
            raise MergeConflict(self, self.names(FieldState.MINE))
        if decisions == "theirs":
            return dict(self.theirs)
        decided = decisions_for(self, decisions, self.merge_together)
        merged, undecided = decide(self, decided)
        if undecided:
            raise MergeConflict(self, undecided)
        return merged

    def merge(
        self, decisions: Mapping[str, Decision] | Decision | None = None
    ) -> models.Model:
        """Make the instance hold the merged values, on top of their version.

        It is then ready to be validated (``full_clean()``) and saved; what it
        remembers as loaded is their row. A third writer in between is simply
        the next conflict. If the transaction open now rolls back, so does the
        merge.

        Args:
            decisions: what to do with collisions, see ``resolve()``.

        Returns:
            The instance.

        Raises:
            MergeConflict: fields collide and nothing was decided for them, or
                the row was deleted. The instance is left as it was.
        """
        if self.instance is None or (self._row is None and not self.deleted):
            raise TypeError(
                "This conflict was made from values, so there is no instance to "
                "merge into. Use resolve(), which returns the merged values."
            )
        merged = self.resolve(decisions)
        assert self._row is not None  # or resolve() would have raised
        _adopt(self.instance, self._row, self, merged, self.using)
        if decisions == "theirs":
            _forget_relations(self.instance)
        return self.instance


def _adopt(
    instance: models.Model,
    row: models.Model,
    changes: Mapping[str, FieldChange],
    merged: dict[str, object],
    using: str | None,
) -> None:
    """Make the instance hold the merged values, and remember the row as loaded."""
    connection = connections[using or row._state.db or "default"]
    before, known = vars(instance).copy(), loaded.recall(instance)
    related = instance._state.fields_cache.copy()
    try:
        for name, value in merged.items():
            if value is not changes[name].mine:
                attname = changes[name].field.attname
                rollback.set_until_rollback(connection, instance, attname, value)
    except BaseException:  # a value that the instance refuses
        loaded.put_back(instance, before, known)
        instance._state.fields_cache = related
        raise
    version = version_field(type(instance))
    if version is not None:
        rollback.set_until_rollback(
            connection, instance, version.attname, vars(row)[version.attname]
        )
    theirs = loaded.recall(row)
    if theirs is not None:
        loaded.restore(instance, theirs, connection)


def _remembered_version(instance: models.Model) -> object:
    field, known = version_field(type(instance)), loaded.recall(instance)
    if field is None or known is None:
        return UNKNOWN
    return known[instance._meta.concrete_fields.index(field)]


def _forget_relations(instance: models.Model) -> None:
    """Drop cached related objects, as ``refresh_from_db()`` does."""
    vars(instance)["_prefetched_objects_cache"] = {}
    meta = instance._meta
    for relation in (*meta.fields, *meta.related_objects, *meta.private_fields):
        if relation.is_relation and relation.is_cached(instance):
            relation.delete_cached_value(instance)
