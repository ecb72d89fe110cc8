"""What a save found on its instance, to put it back if the save fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.db import connections, models, router

from optilock import fast_update, keys, loaded, lost_transactions, rollback
from optilock.exceptions import RecordModifiedError
from optilock.rows import first_table, name_of

if TYPE_CHECKING:
    from optilock.loaded import State
    from optilock.lock import Lock

__all__ = ["SaveState"]


class SaveState:
    """What one ``save_base()`` found, and puts back if it fails."""

    # One is made for each save.
    __slots__ = (
        "before",
        "instance",
        "is_guarded",
        "is_restored",
        "kept",
        "lock",
        "state",
        "was_new",
    )

    def __init__(
        self, lock: Lock, instance: models.Model, options: Mapping[str, object]
    ) -> None:
        self.lock = lock
        self.instance = instance
        self.before = values = vars(instance).copy()
        state: State = instance._state  # type: ignore[assignment]  # with ours
        self.state = state
        self.kept = kept = vars(state).copy()
        self.is_restored = False
        # Whether ``do_update()``, or what replaces it, was called. It stands in the
        # state meanwhile: a receiver may save the instance, too.
        state._optilock_guarded = False
        if "_optilock_new_key" in kept:
            del state._optilock_new_key
        if options.get("force_update"):
            state.adding = False  # the caller knows that there is a row
        elif kept.get("adding") is False:
            if values.get(instance._meta.pk.attname) is None and not (
                instance._is_pk_set()  # type: ignore[attr-defined]  # not in the stubs
                or instance._is_pk_set(lock.model._meta)  # type: ignore[attr-defined]  # nor this
            ):
                state.adding = True  # a copy, made by setting the pk to None
            elif options.get("force_insert") and self._is_gone(options.get("using")):
                del vars(state)["adding"]  # Django would insert the child's row alone
        self.was_new = state.adding

    def _is_gone(self, using: object) -> bool:
        """Tell whether a parent's row, the one with the version, was deleted."""
        instance, model = self.instance, self.lock.model
        if model is instance._meta.concrete_model or keys.has_new_key(instance):
            return False  # that one is inserted as it is
        alias = str(using or router.db_for_write(type(instance), instance=instance))
        pk = instance._get_pk_val(model._meta)
        return fast_update.current_version(self.lock.field, alias, pk) is None

    def fail(self, error: BaseException, using: str | None) -> None:
        """Make the instance what it was, unless its row was written."""
        instance, state, field = self.instance, self.state, self.lock.field
        kept, absent = self.kept, rollback.ABSENT
        using = using or router.db_for_write(type(instance), instance=instance)
        connection = connections[using]
        # Two tables are written in a block.
        is_one_table = first_table(instance) is instance._meta.concrete_model
        if connection.autocommit and is_one_table:
            what = f"the save of {name_of(instance)}"
            lost_transactions.say_if_unknown(connection, error, what)
        written = (
            not state.adding
            if self.was_new or "_optilock_new_key" in vars(state)
            else vars(instance).get(field.attname) != self.before.get(field.attname)
        )
        if written and not connection.needs_rollback:
            return
        loaded.put_back(instance, self.before, kept.get(loaded.NAME))
        rollback.put(state, keys.KEY, kept.get(keys.KEY, absent))
        rollback.put(state, "adding", kept.get("adding", absent))
        self.is_restored = True
        if (
            isinstance(error, RecordModifiedError)
            and error.instance is instance
            and first_table(instance) is self.lock.model
        ):
            # Django marks the block for rollback when a save raises, but this
            # UPDATE was the first and it matched no row.
            connection.needs_rollback = False
            connection.rollback_exc = None  # type: ignore[attr-defined]  # not in the stubs

    def end(self) -> None:
        """Note what has to be put back if an INSERT is rolled back later."""
        state, kept = self.state, self.kept
        now = vars(state)
        self.is_guarded = now.pop("_optilock_guarded", False)
        if "_optilock_guarded" in kept:
            now["_optilock_guarded"] = kept["_optilock_guarded"]
        has_new_key = "_optilock_new_key" in now and now.pop("_optilock_new_key")
        if not (self.was_new or has_new_key) or self.is_restored:
            return
        # There is then no row to update.
        connection = connections[state.db]  # type: ignore[index]  # it was saved
        was_adding = kept.get("adding", rollback.ABSENT)
        if has_new_key:  # its key tells
            self.was_new = True
            instance, name = self.instance, self.lock.field.attname
            number, after = self.before.get(name), vars(instance).get(name)
            rollback.remember(connection, instance, name, number, after)
        elif was_adding is not rollback.ABSENT:
            was_adding = True
        log = rollback.log_of(connection)
        if log is not None:
            log.append(state, "adding", was_adding, False)
            log.append(state, "db", kept.get("db"), state.db)
