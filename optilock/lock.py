"""The lock: what a version field puts around its model's ``save()``.

``Model.save()`` calls ``save_base()``, that calls ``_save_table()`` for each table,
and that ``_do_update()``. ``Lock`` stands around each of them, under the same names:
``Lock.do_update()`` is where an UPDATE gets its ``WHERE version =``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, models
from django.db.models.functions import Greatest
from django.db.models.signals import post_save, pre_save

from optilock import fast_insert, fast_update, keys, loaded, rollback, unlocking
from optilock.djangos import are_djangos, not_called, require_known_django
from optilock.exceptions import refusal
from optilock.expressions import ExpectedVersion, NextVersion
from optilock.guarding import put_guards
from optilock.rows import ModelField, bump_parent, name_of, version_field
from optilock.save_state import SaveState

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from optilock.fields import IntegerVersionField
    from optilock.plain_fields import PlainFields

    _Fields = tuple[Sequence[ModelField], PlainFields | None]

__all__ = ["Lock"]

#: What a manager of Django's may have been given in place of its own.
_METHODS_OF_MANAGER = ("get_queryset", "using")
#: What a save calls, in this order.
_METHODS = ("save_base", "_save_table", "_do_update")


class Lock:
    """The guards of one model's rows.

    Args:
        field: the version field.
    """

    def __init__(self, field: IntegerVersionField) -> None:
        self.field = field
        #: For ``fast_update``: each table's fields, and those of them it writes.
        self.plain_fields: dict[type[models.Model], _Fields] = {}
        #: For ``fast_insert``: the same, with the key and without.
        self.plain_inserts: dict[tuple[type[models.Model], bool], _Fields] = {}

    def put_on(self, model: type[models.Model]) -> None:
        """Wrap the methods that write, read and validate the model's rows.

        Raises:
            ImproperlyConfigured: this Django doesn't save as the lock knows it.
        """
        require_known_django(models.Model)
        self.model = model
        own = vars(model)
        self._has_own_update = "_do_update" in own
        self._has_own = not own.keys().isdisjoint(_METHODS)
        put_guards(self, model)
        self._guards = [own[name] for name in _METHODS]
        self._guard = self._guards[-1]
        rollback.watch_connections()
        rollback.watch_deletes(version_field)

    def is_alone(
        self,
        instance: models.Model,
        save_table: object,
        table: type[models.Model] | None = None,
    ) -> bool:
        """Tell whether a table is saved by Django's own code alone.

        Args:
            instance: what is saved.
            save_table: the bound ``_save_table()`` behind the lock's.
            table: the model whose table it is, if its manager has to be Django's,
                too: a row that one of somebody's own hides stays hidden.
        """
        behind = super(self.model, instance)._do_update  # type: ignore[misc]
        if table is not None and (
            type(manager := table._base_manager) is not models.Manager
            or manager._queryset_class is not models.QuerySet  # type: ignore[attr-defined]  # not in the stubs
            or not vars(manager).keys().isdisjoint(_METHODS_OF_MANAGER)
        ):
            return False
        return (
            type(instance)._do_update is self._guard
            and not self._has_own_update
            and type(behind) is MethodType
            and type(save_table) is MethodType
            and are_djangos(behind.__func__, save_table.__func__)
        )

    def saves_by_one_update(self, instance: models.Model) -> bool:
        """Tell whether a save of a loaded instance is one UPDATE and nothing else.

        Then there is nothing for a transaction to hold together.
        """
        kind, behind = type(instance), super(self.model, instance)
        others = (f for f in kind._meta.concrete_fields if f is not self.field)
        return (
            kind._meta.concrete_model is self.model
            and not (self._has_own or kind._meta.parents)
            and [getattr(kind, name) for name in _METHODS] == self._guards
            and are_djangos(*(_function(getattr(behind, n)) for n in _METHODS))
            # A field of somebody's own may write another row, such as a counter.
            and are_djangos(*{type(one).pre_save for one in others})
            and not (pre_save.has_listeners(kind) or post_save.has_listeners(kind))
        )

    # --- the UPDATE ------------------------------------------------------

    def do_update(
        self,
        instance: models.Model,
        update: Callable[..., object],
        base_qs: models.QuerySet[models.Model],
        using: str,
        pk_val: object,
        values: Sequence[tuple[ModelField, object, object]],
        update_fields: Collection[str] | None,
        forced_update: bool,
        *args: object,
        **kwargs: object,
    ) -> object:
        """``Model._do_update()``: this is where an UPDATE gets its ``version =``.

        ``update`` is the ``_do_update()`` that would have been called without
        the lock. It is called once for each table of the model.
        """
        field = self.field
        instance._state._optilock_guarded = True  # type: ignore[attr-defined]
        others = [value for value in values if value[0] is not field]
        given = next((value for one, _, value in values if one is field), None)
        send = partial(update, base_qs, using, pk_val)
        if base_qs.model is not self.model:
            return send(values, update_fields, forced_update, *args, **kwargs)
        if not (given is None or type(given) is ExpectedVersion):
            # Unlike next_version, it finds out whether there is a next number.
            number = Greatest(models.Value(given, field), NextVersion(field))
            values = [*others, (field, None, number)]
            send = partial(send, values, update_fields, forced_update, *args, **kwargs)
            return unlocking.update_unchecked(field, instance, using, pk_val, send)
        if update_fields and field.excludes(update_fields):
            return send(values, update_fields, forced_update, *args, **kwargs)
        if instance._state.adding and not forced_update:
            return False  # never seen that row, so this must be an INSERT
        expected = field.expected(instance)
        rows = base_qs.filter(**{field.attname: expected})
        values = [*others, (field, None, field.next_version)]
        # No SELECT first, whatever Meta.select_on_save says: hence the True.
        options = (update_fields, True, *args)
        checked = partial(update, rows, using, pk_val, values, *options, **kwargs)
        connection = connections[using]
        if sent := self.send(checked, instance, connection, pk_val, expected):
            return sent
        values = [*others, (field, None, NextVersion(field))]
        send, is_whole = partial(send, values, *options, **kwargs), not update_fields
        return unlocking.overwrite(
            field, instance, using, pk_val, send, is_whole=is_whole
        )

    def send(
        self,
        send: Callable[[], object],
        instance: models.Model,
        connection: BaseDatabaseWrapper,
        pk_val: object,
        expected: int,
    ) -> object:
        """Send the UPDATE, and make sure that it has found the row.

        If it hasn't, that is an error; with the lock off, nothing is returned.
        """
        using = connection.alias
        try:
            updated = send()
        except DatabaseError as error:
            # A deadlock, say: the database doesn't tell which row it was about.
            error._optilock_row = using, self.model, pk_val  # type: ignore[attr-defined]
            raise
        if not updated:
            if unlocking.is_unlocked(instance):
                return updated
            raise refusal(self.field, instance, using, pk_val, expected)
        name = self.field.attname
        rollback.set_until_rollback(connection, instance, name, expected + 1)
        return updated

    # --- one table -------------------------------------------------------

    def save_table(
        self,
        instance: models.Model,
        save_table: Callable[..., bool],
        raw: bool = False,
        cls: Any = None,
        force_insert: object = False,
        force_update: bool = False,
        using: Any = None,
        update_fields: Collection[str] | None = None,
        **kwargs: object,
    ) -> bool:
        """``Model._save_table()``: remember, in the end, what was written."""
        is_locked, was_new = cls is self.model, instance._state.adding
        if is_locked and not (raw or force_insert or was_new):
            if keys.has_new_key(instance, cls):
                keys.treat_as_new(instance, self.field, force_update, update_fields)
            elif not kwargs and (
                connection := fast_update.update_row(
                    self, instance, save_table, using, update_fields
                )
            ):
                known = vars(instance._state)
                known["_optilock_guarded"] = True
                if loaded.NAME in known:  # nearly always the row was written whole
                    is_whole = not update_fields
                    done = is_whole and loaded.note_row(instance, cls, connection)
                else:  # where only the key is remembered, it is known already
                    is_alone = not hasattr(instance, "remember_loaded")
                    done = is_alone and keys.KEY in known
                if not done:
                    _note_saved(self, instance, cls, using, update_fields)
                return True
        is_insert, updated = force_insert or (is_locked and was_new), False
        if is_insert and not (raw or force_update or update_fields or kwargs):
            if _insert(self, instance, save_table, cls, using):
                return False
        elif not (is_insert or is_locked or was_new or raw or kwargs):
            updated = fast_update.update_further_row(
                self, cls, instance, save_table, using, update_fields
            )
        if not updated:
            updated = save_table(
                raw, cls, force_insert, force_update, using, update_fields, **kwargs
            )
        if raw and not is_locked:
            bump_parent(self.field, instance, cls, using, updated, was_new)
        _note_saved(self, instance, cls, using, update_fields, raw, updated)
        return updated

    # --- the whole save --------------------------------------------------

    def save_base(
        self,
        instance: models.Model,
        save_base: Callable[..., None],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """``Model.save_base()``: a save that fails leaves the instance as it was."""
        save = SaveState(self, instance, kwargs)
        names = kwargs.get("update_fields")
        if names and not kwargs.get("raw") and not self.field.excludes(names):
            # Signals tell what is written, and so is this.
            kwargs["update_fields"] = frozenset([*names, self.field.name])
        try:
            save_base(*args, **kwargs)
        except BaseException as error:
            save.fail(error, kwargs.get("using"))
            raise
        finally:
            save.end()
        if not (save.is_guarded or save.was_new or args or kwargs.get("force_insert")):
            self._require_guard(instance)

    def _require_guard(self, instance: models.Model) -> None:
        """Raise an error if Django has saved the row without ``do_update()``."""
        behind = super(self.model, instance)._save_table  # type: ignore[misc]
        if not self.is_alone(instance, behind):
            return  # another package writes the row in its own way
        fact = f"{name_of(instance)} was saved, but its version was not checked"
        raise not_called("Model._do_update()", fact)


def _insert(
    lock: Lock,
    instance: models.Model,
    save_table: Callable[..., bool],
    table: type[models.Model],
    using: str,
) -> bool:
    """Insert a row by the short way, if it can be taken, and remember it."""
    connection = fast_insert.insert_row(lock, table, instance, save_table, using)
    if connection is None:
        return False
    is_whole = getattr(instance, "remember_loaded", False)
    if not (is_whole and loaded.note_row(instance, table, connection)):
        _note_saved(lock, instance, table, using, None, updated=False)
    return True


def _note_saved(
    lock: Lock,
    instance: models.Model,
    table: type[models.Model],
    using: str,
    update_fields: Collection[str] | None,
    raw: bool = False,
    updated: bool = True,
) -> None:
    """Remember what was written, and under which key."""
    if getattr(instance, "remember_loaded", False):
        names = {*update_fields, lock.field.name} if update_fields else None
        loaded.note_table(instance, table, using, names=names, raw=raw, updated=updated)
        is_known = not update_fields or keys.remembers_key(instance)
    else:
        is_known = updated and not raw and keys.KEY in vars(instance._state)
    if not is_known and table is instance._meta.concrete_model:
        keys.note_key(instance, using)


def _function(method: object) -> object:
    return method.__func__ if type(method) is MethodType else None
