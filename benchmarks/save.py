"""What does a locked ``save()`` cost, beside Django's own without a lock?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection, models, transaction

from benchmarks import harness


def saving(model: type[models.Model], field: str = "owner", **save: Any) -> Any:
    instance = model._default_manager.create()
    instance.refresh_from_db()
    texts = iter_texts()

    def way() -> None:
        setattr(instance, field, next(texts))
        instance.save(**save)

    return way


def iter_texts() -> Any:
    number = 0
    while True:
        number += 1
        yield f"Ada {number}"


def in_atomic(way: Callable[[], object]) -> Callable[[], object]:
    def inside() -> None:
        with transaction.atomic():
            way()

    return inside


def hand_written() -> Callable[[], object]:
    from benchmarks.models import HandWritten

    instance = HandWritten._default_manager.create()
    instance.refresh_from_db()
    texts = iter_texts()
    names = [
        field.name
        for field in HandWritten._meta.concrete_fields
        if not field.primary_key and field.name != "version"
    ]

    def way() -> None:
        instance.owner = next(texts)
        row = HandWritten._default_manager.filter(
            pk=instance.pk, version=instance.version
        )
        values = {name: getattr(instance, name) for name in names}
        if not row.update(**values, version=models.F("version") + 1):
            raise RuntimeError("conflict")
        instance.version += 1

    return way


def finished_statement() -> Callable[[], object]:
    """The floor: Django's cursor, and a statement that is ready."""
    from benchmarks.models import Locked

    instance = Locked.objects.create()
    instance.refresh_from_db()
    meta = Locked._meta
    columns = [f for f in meta.concrete_fields if f.name not in ("id", "version")]
    qn = connection.ops.quote_name
    assignments = ", ".join(f"{qn(field.column)} = %s" for field in columns)
    sql = (
        f"UPDATE {qn(meta.db_table)} SET {assignments}, version = version + 1 "
        f"WHERE id = %s AND version = %s"
    )
    values = [
        field.get_db_prep_save(getattr(instance, field.attname), connection)
        for field in columns
    ]
    versions = iter(range(1, 10**9))

    def way() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, [*values, instance.pk, next(versions)])
            if cursor.rowcount != 1:
                raise RuntimeError("conflict")

    return way


def ways() -> dict[str, harness.Ways]:
    from benchmarks import models

    return {
        "six fields": {
            "Django, no lock": saving(models.Unlocked),
            "optilock": saving(models.Locked),
            "filter().update(F() + 1)": hand_written(),
            "floor: cursor.execute()": finished_statement(),
        },
        "update_fields": {
            "Django, no lock": saving(models.Unlocked, update_fields=["owner"]),
            "optilock": saving(models.Locked, update_fields=["owner"]),
        },
        "two tables": {
            "Django, no lock": saving(models.UnlockedChild),
            "optilock": saving(models.LockedChild),
        },
        "forty fields": {
            "Django, no lock": saving(models.UnlockedWide, "text0"),
            "optilock": saving(models.LockedWide, "text0"),
        },
        "in atomic()": {
            "Django, no lock": in_atomic(saving(models.Unlocked)),
            "optilock": in_atomic(saving(models.Locked)),
        },
    }


if __name__ == "__main__":
    harness.run("save()", ways)
