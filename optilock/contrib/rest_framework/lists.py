"""Many objects, changed by one request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.fields import empty

from optilock.contrib.rest_framework.fields import VersionField
from optilock.exceptions import RecordModifiedError, error_of
from optilock.http.errors import VersionMismatch

__all__ = ["VersionedListSerializer"]


class VersionedListSerializer(serializers.ListSerializer):
    """Changes each object of a list if it is at the version that its item brings.

    The ``list_serializer_class`` of a serializer with a ``VersionField`` and a
    writable field for the primary key. Its ``instance`` is what may be changed: a
    queryset, of which only the objects that are named are loaded, or a list.
    Each object is written by the serializer's own ``update()``. Do it in a
    transaction, as ``ConditionalMixin.perform_update()`` does.

    If an object isn't at its version, none is written, and the answer (409) names
    all of them in ``conflicts``, with ``"current": null`` for those that are deleted
    or not in the queryset.
    """

    default_error_messages = {"repeated": "This object is in the list twice."}  # noqa: RUF012 -- as its base has it

    def to_internal_value(self, data: Any) -> list[dict[str, object]]:
        if self.instance is None:
            validated: list[dict[str, object]] = super().to_internal_value(data)
            return validated
        self._optilock_conflicts: list[dict[str, object]] = []
        self._optilock_rows: dict[object, Model] | None = None
        self._optilock_sent = data
        self._optilock_seen: set[object] = set()
        validated = super().to_internal_value(data)
        if self._optilock_conflicts:
            raise VersionMismatch(
                "Some objects aren't at the version that was sent with them: they were "
                "changed or deleted in the meantime. Nothing was written. Get the "
                "list, and decide again.",
                conflicts=self._optilock_conflicts,
            )
        return validated

    def run_child_validation(self, data: object) -> object:
        if self.instance is None or not isinstance(data, dict):
            return super().run_child_validation(data)
        key_field, version_field = self._optilock_fields()
        pk = _validated(key_field, data)
        if pk in self._optilock_seen:
            message = self.error_messages["repeated"]
            raise serializers.ValidationError({key_field.field_name: [message]})
        self._optilock_seen.add(pk)
        row = self._optilock_row(pk, key_field)
        self.child.instance, self.child.initial_data = row, data
        if row is None:
            expected = _validated(version_field, data)
            self._optilock_note(pk, expected, None)
            return {}
        try:
            return super().run_child_validation(data)
        except VersionMismatch as error:
            expected = int(data[version_field.field_name])
            self._optilock_note(pk, expected, error.current_version)
            return {}
        finally:
            self.child.instance = None

    def _optilock_fields(self) -> tuple[serializers.Field, VersionField]:
        """Return the fields of the child for the primary key and for the version."""
        fields = self.child.fields.values()
        pk_name = self.child.Meta.model._meta.pk.name
        keys = [f for f in fields if f.source in ("pk", pk_name) and not f.read_only]
        versions = [field for field in fields if isinstance(field, VersionField)]
        if not keys or not versions:
            raise ImproperlyConfigured(
                f"{type(self.child).__name__} can't tell which object an item is "
                f"about, or at which version. Give it a VersionField, and a field for "
                f"the primary key that isn't read-only: id = IntegerField()."
            )
        return keys[0], versions[0]

    def _optilock_row(self, pk: object, key_field: serializers.Field) -> Model | None:
        if self._optilock_rows is None:
            rows: Any = self.instance
            if isinstance(self.instance, QuerySet):
                # What is compared must be what is written: never a replica's row.
                using = rows._db or router.db_for_write(rows.model, **rows._hints)
                rows = rows.using(using).filter(pk__in=self._optilock_keys(key_field))
            self._optilock_rows = {row.pk: row for row in rows}
        return self._optilock_rows.get(pk)

    def _optilock_keys(self, key_field: serializers.Field) -> list[object]:
        keys = []
        for item in self._optilock_sent:
            try:
                keys.append(_validated(key_field, item))
            except (serializers.ValidationError, AttributeError):
                continue  # it is an error of its item
        return keys

    def _optilock_note(self, pk: object, expected: object, current: int | None) -> None:
        pk = pk if isinstance(pk, int) else str(pk)
        self._optilock_conflicts.append(
            {"pk": pk, "expected": expected, "current": current}
        )

    def update(
        self, instance: object, validated_data: Iterable[dict[str, object]]
    ) -> list[Model]:
        key_field, _ = self._optilock_fields()
        items: list[tuple[Any, dict[str, object]]]
        items = [(attrs.pop(key_field.source), attrs) for attrs in validated_data]
        refused: list[RecordModifiedError] = []
        rows = self._optilock_rows or {}
        # In one order for all requests, or two of them would wait for each other.
        for pk, attrs in sorted(items, key=lambda item: item[0]):
            try:
                self.child.update(rows[pk], attrs)
            except RecordModifiedError as error:
                if error.instance is not rows[pk]:
                    raise
                refused.append(error)  # go on: the client is told of all
        if refused:
            rows_refused = [row for error in refused for row in error.conflicts]
            raise error_of(rows_refused, is_of_many=True) from refused[0]
        return [rows[pk] for pk, _ in items]


def _validated(field: serializers.Field, data: dict[str, object]) -> object:
    try:
        return field.run_validation(data.get(field.field_name, empty))
    except serializers.ValidationError as error:
        raise serializers.ValidationError({field.field_name: error.detail}) from error
