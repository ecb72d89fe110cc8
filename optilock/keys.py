"""The primary key an instance was loaded with, beside the one it has now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import connections, models

from optilock import rollback
from optilock.djangos import IS_KNOWN, are_djangos
from optilock.loaded import NAME, UNKNOWN, copied, note, prepare, recall

if TYPE_CHECKING:
    from optilock.fields import IntegerVersionField
    from optilock.loaded import Meta, State
    from optilock.rows import ModelField

__all__ = [
    "FROM_DB",
    "KEY",
    "Keys",
    "has_new_key",
    "new_key_message",
    "note_inserting",
    "note_key",
    "note_loaded_key",
    "note_new_key",
    "refuse_new_key",
    "remembers_key",
    "treat_as_new",
    "validate",
    "watch_loading",
]

#: The primary key alone, where nothing else is remembered.
KEY = "_optilock_key"


class Keys:
    """The primary keys of a model's tables: its own and its parents'."""

    def __init__(self, model: type[models.Model] | models.Model) -> None:
        meta: Meta = model._meta  # type: ignore[assignment]  # with ours
        #: Django makes a new one if a field is added.
        self.seen = meta.concrete_fields
        tables = (meta.concrete_model, *meta.all_parents)
        self.fields = [
            field
            for field in meta.concrete_fields
            if any(field in table._meta.pk_fields for table in tables)  # type: ignore[union-attr]  # it is concrete
        ]
        self.names = [field.attname for field in self.fields]
        #: From an instance: one value, or a tuple if there are several fields.
        self.now = attrgetter(*self.names)
        #: The same from the values of a whole row.
        self.indexes = [*map(meta.concrete_fields.index, self.fields)]
        self.of_row = itemgetter(*self.indexes)

    @staticmethod
    def of(model: type[models.Model] | models.Model) -> Keys:
        meta: Meta = model._meta  # type: ignore[assignment]  # with ours
        keys: Keys | None = vars(meta).get("_optilock_keys")
        if keys is None or keys.seen is not meta.concrete_fields:
            keys = meta._optilock_keys = Keys(model)
        return keys

    def each(self, values: object) -> Sequence[object]:
        """Return a value for each field, of what ``now()`` returned."""
        if len(self.names) == 1:
            values = (values,)
        # If not, the state is another model's, see recall().
        if type(values) is tuple and len(values) == len(self.names):
            return values
        return (UNKNOWN,) * len(self.names)


def has_new_key(
    instance: models.Model, table: type[models.Model] | None = None
) -> bool:
    """Tell whether an instance's key isn't the one it was loaded or saved with.

    Its values and its version are then those of another row, and of the row that
    it names now nothing was ever read. Where the key it was loaded with isn't
    known, it is taken for the same.

    Args:
        instance: what was loaded.
        table: look at the key of this model's table only.
    """
    meta, state = instance._meta, vars(instance._state)
    # This runs for each save, so the usual answer comes without further calls.
    fields, keys = meta.concrete_fields, vars(meta).get("_optilock_keys")
    if keys is None or keys.seen is not fields:
        keys = Keys.of(instance)
    row = state.get(NAME)
    if row is not None and len(row) == len(fields):
        loaded = keys.of_row(row)
    else:
        loaded = state.get(KEY, UNKNOWN)
    now = keys.now(instance)
    if loaded is UNKNOWN or loaded == now:
        return False
    return any(
        (table is None or field in table._meta.pk_fields)
        and not _is_same_key(field, old, new)
        for field, old, new in zip(
            keys.fields, keys.each(loaded), keys.each(now), strict=True
        )
    )


def remembers_key(instance: models.Model) -> bool:
    """Tell whether the key is among the values that an instance remembers."""
    row = recall(instance)
    indexes = Keys.of(instance).indexes
    return row is not None and any(row[index] is not UNKNOWN for index in indexes)


def refuse_new_key(instance: models.Model, action: str) -> None:
    """Raise an error if the instance's key isn't the one it was loaded with.

    Args:
        instance: what was loaded.
        action: what is refused, like "delete()".

    Raises:
        ValueError: see above.
    """
    if not instance._state.adding and has_new_key(instance):
        raise ValueError(
            f"{new_key_message(instance)}, so {action} would write a row nobody has "
            f"read. Load the row with that key first, or put the old key back."
        )


def new_key_message(instance: models.Model) -> str:
    return (
        f"This {instance._meta.label} was loaded or saved under another primary key "
        f"than the {instance.pk!r} it has now"
    )


def treat_as_new(
    instance: models.Model,
    field: IntegerVersionField,
    force_update: bool,
    update_fields: Collection[str] | None,
) -> None:
    """Let a save under a key that wasn't loaded make a new row.

    Its version is another row's, and may be the same number by chance: an
    UPDATE would overwrite what nobody has read.

    Raises:
        ValueError: only an UPDATE was asked for.
    """
    if update_fields and field.excludes(update_fields):
        return
    if force_update or update_fields:
        raise ValueError(
            f"{new_key_message(instance)}, so this UPDATE would overwrite a row nobody "
            f"has read. Load the row with that key and change it, or save the object "
            f"without force_update and update_fields, as a new row."
        )
    state: State = instance._state  # type: ignore[assignment]  # with ours
    state.adding = state._optilock_new_key = True


def validate(
    model: type[models.Model],
    instance: models.Model,
    validate: Callable[..., None],
    *args: object,
    **kwargs: object,
) -> None:
    """Look for other rows as for a new object, where it is to be one.

    Django believes that the row under the object's key is the object's own.
    """
    state = instance._state
    if state.adding or not has_new_key(instance, model):
        return validate(*args, **kwargs)
    state.adding = True
    try:
        return validate(*args, **kwargs)
    finally:
        state.adding = False


def _is_same_key(field: ModelField, old: object, new: object) -> bool:
    if old is UNKNOWN or old is new or old == new:
        return True
    try:  # "5" is the key of row 5, and "A" that of row "a" if that is what is stored
        old, new = field.to_python(old), field.to_python(new)
        return bool(
            old == new or field.get_prep_value(old) == field.get_prep_value(new)
        )
    except ValidationError:
        return False


def note_key(instance: models.Model, using: str | None) -> None:
    """Remember the key that an instance has now as the one it was loaded with.

    Args:
        instance: what was loaded, saved or refreshed.
        using: as for ``note()``.
    """
    keys = Keys.of(instance)
    if recall(instance) is not None:
        note(instance, using, {name: vars(instance)[name] for name in keys.names})
    elif using is None:
        setattr(instance._state, KEY, keys.now(instance))
    else:
        rollback.set_until_rollback(
            connections[using], instance._state, KEY, keys.now(instance)
        )


def note_loaded_key(instance: models.Model) -> None:
    """Remember the key of an instance some of whose values were just loaded.

    Django knows a deferred key of a parent, but once it is asked, it is no longer
    deferred.
    """
    names = Keys.of(instance).names
    loaded = tuple(vars(instance).get(name, UNKNOWN) for name in names)
    state: State = instance._state  # type: ignore[assignment]  # with ours
    state._optilock_key = loaded if len(names) > 1 else loaded[0]


def note_new_key(instance: models.Model, log: rollback.UndoLog | None) -> None:
    """Remember the key of a row that was just inserted, and nothing else of it.

    Args:
        instance: what was inserted.
        log: that of the open transaction, see ``rollback.log_of()``.
    """
    state: State = instance._state  # type: ignore[assignment]  # with ours
    now: object = Keys.of(instance).now(instance)
    if log is not None:
        log.append(state, KEY, vars(state).get(KEY, rollback.ABSENT), now)
    state._optilock_key = now


def note_inserting(instance: models.Model) -> None:
    """Remember the key under which a new row is about to be inserted."""
    meta = instance._meta
    # This runs for each row, so the usual answer comes without further calls.
    keys = vars(meta).get("_optilock_keys")
    if keys is None or keys.seen is not meta.concrete_fields:
        keys = Keys.of(instance)
    now: object = keys.now(instance)
    if now is None:
        return
    # The database may still have to make it, or a part of it.
    if not any(
        value is None or hasattr(value, "resolve_expression")
        for value in keys.each(now)
    ):
        state: State = instance._state  # type: ignore[assignment]  # with ours
        state._optilock_key = now


#: ``Model.from_db()``, if it is Django's own, as far as that was read.
_from_db = getattr(models.Model.from_db, "__func__", None)
FROM_DB: object = _from_db if IS_KNOWN and are_djangos(_from_db) else object()


def watch_loading(model: Any) -> None:
    """Let a model's ``from_db()`` note what was loaded: all values, or only the key."""
    own = vars(model).get("from_db")

    def from_db(
        cls: Any,
        db: str | None,
        field_names: Collection[str],
        values: Collection[object],
        fetch_mode: object = None,
        **kwargs: object,
    ) -> Any:
        # This runs for every row that is loaded: each call in it would be felt.
        load = own.__get__(None, cls) if own else super(model, cls).from_db
        meta, count = cls._meta, len(values)
        try:
            shared, keys = meta._optilock_shared, meta._optilock_keys
            behind = load.__func__
        except AttributeError:
            shared, keys, behind = prepare(cls), Keys.of(cls), None
        is_whole = count == len(meta.concrete_fields)
        if is_whole and behind is FROM_DB and not kwargs:
            instance = cls(*values)  # as Django's does
            state = instance._state
            state.adding = False
            state.db = db
            if fetch_mode is not None:  # from Django 6.1 on
                state.fetch_mode = fetch_mode
        else:
            if fetch_mode is not None:
                kwargs["fetch_mode"] = fetch_mode
            instance = load(db, field_names, values, **kwargs)
            state = instance._state
        if shared is None:
            if is_whole:
                state._optilock_key = keys.now(instance)
            else:
                note_loaded_key(instance)
        elif shared == count:
            # Django makes the values for this one call: they can be kept.
            state._optilock_loaded = values
        else:
            state._optilock_loaded = copied(cls, field_names, values)
        return instance

    before = model.from_db
    described: Any = wraps(getattr(before, "__func__", before))(from_db)
    model.from_db = classmethod(described)
