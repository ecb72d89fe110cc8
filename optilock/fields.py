"""The version field, and the lock it puts on its model's ``save()``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial, wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from django.core import checks
from django.db import DatabaseError, connections, models, router
from django.db.models.expressions import Expression
from django.db.models.query_utils import DeferredAttribute

from optilock import memory, rollback, signals, statements
from optilock.exceptions import RecordDeletedError, RecordModifiedError

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


class NextVersion(Expression):
    """``"version" + 1`` in the ``SET`` of an ``UPDATE``.

    What ``F("version") + 1`` renders, at a fraction of its cost.
    """

    def __init__(self, field: models.Field[Any, Any]) -> None:
        super().__init__(output_field=field)

    def resolve_expression(self, *args: Any, **kwargs: Any) -> NextVersion:
        return self

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[Any, ...]]:
        column = connection.ops.quote_name(str(self.output_field.column))
        return f"{column} + 1", ()


class _Expected(int):
    """The version that ``pre_save()`` hands to an update.

    A raw save (a fixture being loaded) doesn't call ``pre_save()``: a plain
    number among the values of an update is one to be stored as it is.
    """


class _VersionAttribute(DeferredAttribute):
    """Reads a version that was left out by ``only()`` or ``defer()``.

    The number isn't kept on the instance, and the next save is refused as
    before: it belongs to the row as it is now, the instance's other values to
    the row as it was.
    """

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        attname = self.field.attname
        if instance is None or attname in vars(instance):
            return super().__get__(instance, cls)
        # Django 6.1's FETCH_PEERS loads the value for all instances of a query.
        peers = [
            peer
            for reference in getattr(instance._state, "peers", ())
            if (peer := reference()) is not None and attname not in vars(peer)
        ]
        try:
            return super().__get__(instance, cls)
        finally:
            for unlocked in (instance, *peers):
                vars(unlocked).pop(attname, None)


class IntegerVersionField(models.BigIntegerField):  # type: ignore[type-arg]
    """A row's version: 1 when it is inserted, one more with each write.

    A model with this field is locked: ``save()`` updates the row only if it is
    still at the version the instance holds, in one statement, and raises
    ``RecordModifiedError`` if it isn't.

    The number is a 64-bit integer, not null, with a default in the database.
    It isn't editable. Assigning to it by hand changes what is checked.

    Args:
        exclude: names of fields of the model whose changes concern nobody else,
            like a counter of views. A write of nothing but these is neither
            checked nor does it raise the version.
    """

    description = "Version number for optimistic locking"
    descriptor_class = _VersionAttribute
    non_db_attrs = (*models.BigIntegerField.non_db_attrs, "exclude")
    _defaults: ClassVar[dict[str, Any]] = {
        "default": 1,
        "db_default": 1,
        "editable": False,
    }

    def __init__(self, *args: Any, exclude: Iterable[str] = (), **kwargs: Any) -> None:
        if isinstance(exclude, str):
            raise TypeError(f"exclude takes a list of names: exclude=[{exclude!r}].")
        self.exclude = tuple(exclude)
        self._fields_seen: Any = None
        for option, value in self._defaults.items():
            kwargs.setdefault(option, value)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        # Only what differs from the defaults goes into a migration.
        kwargs.setdefault("editable", True)
        for option, value in self._defaults.items():
            if kwargs.setdefault(option, models.NOT_PROVIDED) == value:
                del kwargs[option]
        if self.exclude:
            kwargs["exclude"] = list(self.exclude)
        return name, path.replace("optilock.fields", "optilock"), args, kwargs

    def contribute_to_class(
        self, cls: type[models.Model], name: str, *args: Any, **kwargs: Any
    ) -> None:
        original = vars(self).get("model")
        if original is not None and not original._meta.abstract:
            # django-simple-history copies fields to tables that record what the rows
            # were. A number there is the version of another row, and stays as it is.
            self.__class__ = models.BigIntegerField  # type: ignore[assignment]  # its base
            self.contribute_to_class(cls, name, *args, **kwargs)
            return
        super().contribute_to_class(cls, name, *args, **kwargs)
        self.next_version = NextVersion(self)
        if not cls._meta.abstract:
            self._has_own_update = "_do_update" in vars(cls)
            self._guard = _wrap(cls, "_do_update", self._locked_update)
            _wrap(cls, "_save_table", self._remembering_save)
            _wrap(cls, "save_base", self._restoring_save)
            rollback.watch_connections()

    def excludes(self, names: Iterable[str]) -> bool:
        """Return whether a write of these fields doesn't concern the lock."""
        return bool(self.exclude) and self._excluded_names.issuperset(names)

    @cached_property
    def _excluded_names(self) -> frozenset[str]:
        fields: list[Any] = [self.model._meta.get_field(n) for n in self.exclude]
        return frozenset(name for f in fields for name in (f.name, f.attname))

    def expected(self, instance: models.Model) -> int:
        """Return the version the instance's row has to have to be written.

        Raises:
            ValueError: the version is deferred, or ``None``.
            TypeError: the version isn't an integer.
        """
        version = vars(instance).get(self.attname, rollback.ABSENT)
        if type(version) is int:
            return version
        where = f"{type(instance)._meta.label}.{self.name}"
        if version is rollback.ABSENT:
            raise ValueError(
                f"{where} was not loaded (only() or defer() left it out), so there is "
                f"no knowing what this write would overwrite. Name {self.name!r} in "
                f"only(), or load the object again."
            )
        if version is None:
            raise ValueError(
                f"{where} is None, so there is no knowing what this write would "
                f"overwrite. Set the version that was read together with the values "
                f"being saved, or load the object again."
            )
        if not isinstance(version, int) or isinstance(version, bool):
            raise TypeError(
                f"{where} is {version!r}; a version is an integer. Convert it, or "
                f"load the object again."
            )
        return int(version)

    def pre_save(self, model_instance: models.Model, add: bool) -> int:
        state = model_instance._state
        # `adding` stands in the instance's own state once it was loaded or saved:
        # what is being inserted now is a copy of that row, and a new row itself.
        if add and state.adding and "adding" in vars(state):
            setattr(model_instance, self.attname, self.get_default())
        version = self.expected(model_instance)
        return version if add else _Expected(version)

    def _locked_update(
        self,
        instance: models.Model,
        update: Callable[..., Any],
        base_qs: models.QuerySet[Any],
        using: str,
        pk_val: Any,
        values: Sequence[tuple[models.Field[Any, Any], Any, Any]],
        update_fields: Any,
        forced_update: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """``Model._do_update()``: this is where an UPDATE gets its ``version =``.

        ``update`` is the ``_do_update()`` that would have been called without
        the lock. It is called once for each table of the model.
        """
        others, given = values, None
        for index, (field, _, value) in enumerate(values):
            if field is self:
                others, given = [*values[:index], *values[index + 1 :]], value
                break
        if (
            base_qs.model is not self.model  # another table
            or not (given is None or type(given) is _Expected)  # a raw save
            or (update_fields and self.excludes(update_fields))
        ):
            return update(
                base_qs,
                using,
                pk_val,
                values,
                update_fields,
                forced_update,
                *args,
                **kwargs,
            )
        if instance._state.adding and not forced_update:
            return False  # never seen that row, so this must be an INSERT
        expected = self.expected(instance)
        connection = connections[using]
        if not kwargs and statements.is_plain(update, base_qs, connection):
            row = statements.RowUpdate(connection, self, pk_val, expected, others)
            send = partial(row.execute, *args)
        else:
            send = partial(
                update,
                base_qs.filter(**{self.attname: expected}),
                using,
                pk_val,
                [*others, (self, None, self.next_version)],
                update_fields,
                True,  # no SELECT first, whatever Meta.select_on_save says
                *args,
                **kwargs,
            )
        return self._send(send, instance, connection, pk_val, expected)

    def _send(
        self,
        send: Callable[[], Any],
        instance: models.Model,
        connection: Any,
        pk_val: Any,
        expected: int,
    ) -> Any:
        """Send the UPDATE, and see to it that it has found the row."""
        using = connection.alias
        try:
            updated = send()
        except DatabaseError as error:
            # A deadlock, say: the database doesn't tell which row it was about.
            error._optilock_row = using, self.model, pk_val  # type: ignore[attr-defined]
            raise
        if not updated:
            raise self.conflict(instance, using, pk_val, expected)
        rollback.set_until_rollback(connection, instance, self.attname, expected + 1)
        return updated

    def _remembering_save(
        self,
        instance: Any,
        save_table: Callable[..., bool],
        raw: bool = False,
        cls: Any = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: Any = None,
        update_fields: Any = None,
        **kwargs: Any,
    ) -> bool:
        """``Model._save_table()``: remember, in the end, what was written."""
        updated = (
            cls is self.model
            and not (raw or force_insert or update_fields or kwargs)
            and self._update_directly(instance, save_table, using)
        ) or save_table(
            raw, cls, force_insert, force_update, using, update_fields, **kwargs
        )
        if getattr(instance, "remember_loaded", False):
            memory.note_table(
                instance,
                cls,
                using,
                names={*update_fields, self.name} if update_fields else None,
                raw=raw,
                updated=updated,
            )
        return updated

    def _update_directly(
        self, instance: Any, save_table: Callable[..., bool], using: str
    ) -> bool:
        """Update the whole row, without the queryset Django makes for that.

        Returns:
            False if that takes Django's way, and nothing was done.
        """
        model: Any = self.model
        meta = model._meta
        if (
            instance._state.adding
            or type(instance)._do_update is not self._guard
            or not statements.is_direct(
                super(model, instance)._do_update,  # type: ignore[misc]
                save_table,
                model._base_manager,
            )
            or (fields := self._fields_beside) is None
            or not instance._is_pk_set(meta)
        ):
            return False
        connection = connections[using]
        if not statements.sends_as_usual(connection):
            return False
        expected, pk_val = self.expected(instance), instance._get_pk_val(meta)
        values = [(field, None, field.pre_save(instance, False)) for field in fields]
        row = statements.RowUpdate(connection, self, pk_val, expected, values)
        statement = row.plain_statement()
        if statement is None:
            return False
        self._send(partial(row.send, statement), instance, connection, pk_val, expected)
        return True

    @property
    def _fields_beside(self) -> Sequence[Any] | None:
        """What a whole save writes beside the version; ``None`` if not plain values.

        A ``pre_save()`` may run twice, which Django's own don't mind.
        """
        fields = self.model._meta.local_concrete_fields
        if self._fields_seen is not fields:  # Django makes it anew if one is added
            written = [f for f in fields if not (f.primary_key or f is self)]
            is_plain = (
                not self._has_own_update
                and type(self).pre_save is IntegerVersionField.pre_save
                and not any(field.generated for field in fields)
                and statements.are_djangos(*{type(f).pre_save for f in written})
            )
            self._fields_written = written if is_plain else None
            self._fields_seen = fields
        return self._fields_written

    def rows(self, using: str, pk: Any) -> Any:
        """Return the row as a queryset on the table that holds the version."""
        return models.QuerySet(self.model, using=using).filter(pk=pk)

    def bump(self, instance: models.Model, using: str, pk: Any, expected: int) -> bool:
        """Raise the row's version if it is the expected one, and the instance's.

        Returns:
            Whether the row was at the expected version.
        """
        row = self.rows(using, pk).filter(**{self.attname: expected})
        if not row._update([(self, None, self.next_version)]):
            return False
        rollback.set_until_rollback(
            connections[using], instance, self.attname, expected + 1
        )
        return True

    def unbump(
        self, instance: models.Model, using: str, pk: Any, expected: int
    ) -> None:
        """Take a ``bump()`` back, in the transaction that made it."""
        row = self.rows(using, pk).filter(**{self.attname: expected + 1})
        if row._update([(self, None, expected)]):
            rollback.set_until_rollback(
                connections[using], instance, self.attname, expected
            )

    def conflict(
        self, instance: models.Model, using: str, pk: Any, expected: int
    ) -> RecordModifiedError:
        """Return the error for a write that matched no row; one query."""
        row = None
        # Where another table is written first, the row now has values of ours.
        if memory.is_merging(instance) and first_table(instance) is self.model:
            row = read_row(instance, using, instance.pk, lock=True)
            current = None if row is None else vars(row)[self.attname]
        else:
            rows = as_of_now(self.rows(using, pk), using)
            current = rows.values_list(self.attname, flat=True).first()
        error_class = RecordDeletedError if current is None else RecordModifiedError
        error = error_class(
            instance=instance,
            using=using,
            expected_version=expected,
            current_version=current,
            row=row,
        )
        signals.conflict_detected.send_robust(
            type(instance), instance=instance, error=error, using=using
        )
        return error

    def _restoring_save(
        self,
        instance: Any,
        save_base: Callable[..., None],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """``Model.save_base()``: a save that fails leaves the instance as it was."""
        state, before = instance._state, vars(instance).copy()
        was_adding, alias = vars(state).get("adding", rollback.ABSENT), state.db
        if kwargs.get("force_update"):
            state.adding = False  # the caller knows that there is a row
        elif was_adding is False and not (
            instance._is_pk_set() or instance._is_pk_set(self.model._meta)
        ):
            state.adding = True  # a copy, made by setting the pk to None
        was_new, restored = state.adding, False
        loaded = memory.recall(instance)
        try:
            save_base(*args, **kwargs)
        except BaseException as error:
            using = kwargs.get("using") or router.db_for_write(
                type(instance), instance=instance
            )
            connection: Any = connections[using]
            written = (
                not state.adding
                if was_new
                else vars(instance).get(self.attname) != before.get(self.attname)
            )
            if not written or connection.needs_rollback:
                _restore(instance, before)
                memory.restore(instance, loaded)
                rollback.put(state, "adding", was_adding)
                restored = True
                if (
                    isinstance(error, RecordModifiedError)
                    and error.instance is instance
                    and first_table(instance) is self.model
                ):
                    # Django marks the block for rollback when a save raises, but
                    # this UPDATE was the first and it matched no row.
                    connection.needs_rollback = False
                    connection.rollback_exc = None
            raise
        finally:
            if was_new and not restored:
                # Should the INSERT be rolled back, there is no row to update.
                connection = connections[state.db]
                was_adding = was_adding if was_adding is rollback.ABSENT else True
                rollback.remember(connection, state, "adding", was_adding, False)
                rollback.remember(connection, state, "db", alias, state.db)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [
            *super().check(**kwargs),
            *self._check_options(),
            *self._check_exclude(),
        ]

    def _check_exclude(self) -> list[checks.CheckMessage]:
        meta = self.model._meta
        possible = {f.name for f in meta.local_concrete_fields if not f.primary_key}
        return [
            checks.Error(
                f"The version of {meta.label} can't exclude {name!r}.",
                hint=(
                    "Name other fields with a column in the same table, not those of "
                    "parents or children."
                ),
                obj=self,
                id="optilock.E010",
            )
            for name in self.exclude
            if name not in possible - {self.name}
        ]

    def _check_options(self) -> list[checks.CheckMessage]:
        # Not meta.pk_fields: it raises for the names that Django's own checks report.
        in_pk = self.primary_key or self.name in getattr(
            self.model._meta.pk, "field_names", ()
        )
        wrong = [
            (self.null, "optilock.E001", "null", "a row without a version has no lock"),
            (
                self.unique and not in_pk,
                "optilock.E002",
                "unique",
                "each row counts its own changes, from 1",
            ),
            (in_pk, "optilock.E003", "part of the primary key", "each save changes it"),
        ]
        return [
            checks.Error(
                f"A version field can't be {option}.",
                hint=f"Declare it as IntegerVersionField(): {reason}.",
                obj=self,
                id=check_id,
            )
            for is_wrong, check_id, option, reason in wrong
            if is_wrong
        ]


def version_field(model: type[models.Model]) -> IntegerVersionField | None:
    """Return the field that locks the model's rows, its own or a parent's."""
    for field in model._meta.concrete_fields:
        if isinstance(field, IntegerVersionField):
            return field
    return None


def read_row(instance: models.Model, using: str, pk: Any, *, lock: bool = False) -> Any:
    """Return the instance's row as it is now, as another instance, or ``None``.

    Args:
        instance: what is deferred on it isn't read either.
        using: the alias of the database.
        pk: the primary key of the row.
        lock: keep everybody else from writing the row until the transaction
            ends, if one is open and the database can.
    """
    rows: Any = models.QuerySet(type(instance), using=using).filter(pk=pk)
    deferred = instance.get_deferred_fields()
    if deferred:
        fields = instance._meta.concrete_fields
        rows = rows.only(*[f.attname for f in fields if f.attname not in deferred])
    return as_of_now(rows, using, lock=lock).first()


def as_of_now(
    rows: models.QuerySet[Any], using: str, *, lock: bool = False
) -> models.QuerySet[Any]:
    """Read the rows as a write in the open transaction would find them."""
    connection: Any = connections[using]
    features = connection.features
    # In MySQL a plain read sees the transaction's old snapshot.
    if connection.autocommit or not (lock or connection.vendor == "mysql"):
        return rows
    if not features.has_select_for_update:
        return rows
    return rows.select_for_update(no_key=features.has_select_for_no_key_update)


def _wrap(
    model: type[models.Model], name: str, guard: Callable[..., Any]
) -> Callable[..., Any]:
    """Put ``guard`` around a method, as a decorator in the class body would.

    What the class body defines is called by the guard; what it doesn't is
    looked up behind the model when called, so that mixins keep their place.
    """
    own = vars(model).get(name)

    @wraps(getattr(model, name))
    def method(self: models.Model, *args: Any, **kwargs: Any) -> Any:
        inner = MethodType(own, self) if own else getattr(super(model, self), name)
        return guard(self, inner, *args, **kwargs)

    setattr(model, name, method)
    return method


def _restore(instance: models.Model, before: dict[str, Any]) -> None:
    """Give the instance's fields the values, or the lack of one, they had."""
    for field in instance._meta.concrete_fields:
        if field.attname in before:
            vars(instance)[field.attname] = before[field.attname]
        else:
            vars(instance).pop(field.attname, None)


def first_table(instance: Any) -> Any:
    """Return the model whose table a save of the instance writes first."""
    meta = instance._meta.concrete_model._meta
    while meta.parents:
        meta = next(iter(meta.parents))._meta
    return meta.model
