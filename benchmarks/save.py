"""What does a locked ``save()`` cost, next to Django's own without a lock?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from django.db import connection, models, transaction

from benchmarks import harness


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from benchmarks import models as our

    others: harness.Ways = {"filter().update(F() + 1)": hand_written()}
    if hasattr(our, "DjangoConcurrency"):
        others["django-concurrency"] = saving(our.DjangoConcurrency)
    if hasattr(our, "DjangoOptimisticLock"):
        others["django-optimistic-lock"] = saving(our.DjangoOptimisticLock)
    if way := sqlalchemy():
        others["SQLAlchemy version_id_col"] = way
    others, notes = harness.working(others)
    yield harness.cpu(
        plan,
        "six fields",
        {
            "Django, no lock": saving(our.Unlocked),
            "optilock": saving(our.Locked),
            "optilock, the field alone": saving(our.LockedByField),
            **others,
            "floor: cursor.execute()": finished_statement(),
        },
        notes=notes,
    )
    yield harness.cpu(
        plan,
        "six fields in atomic()",
        {
            "Django, no lock": in_atomic(saving(our.Unlocked)),
            "optilock": in_atomic(saving(our.Locked)),
        },
    )
    yield harness.cpu(
        plan,
        "two tables",
        {
            "Django, no lock": saving(our.UnlockedChild),
            "optilock": saving(our.LockedChild),
        },
    )
    yield harness.cpu(
        plan,
        "forty fields",
        {
            "Django, no lock": saving(our.UnlockedWide, "text0"),
            "optilock": saving(our.LockedWide, "text0"),
        },
    )


def new_names() -> Iterator[str]:
    return (f"Ada {number}" for number in count())


def saving(
    model: type[models.Model], field: str = "owner", **options: Any
) -> harness.Way:
    """Return a function that changes one field and saves."""
    created = model._default_manager.create()
    instance = model._default_manager.get(pk=created.pk)
    names = new_names()

    def way() -> None:
        setattr(instance, field, next(names))
        instance.save(**options)

    return way


def in_atomic(way: harness.Way) -> harness.Way:
    def inside() -> None:
        with transaction.atomic():
            way()

    return inside


def hand_written(fields: list[str] | None = None) -> harness.Way:
    from benchmarks.models import HandWritten

    manager = HandWritten._default_manager
    instance = manager.get(pk=manager.create().pk)
    names = new_names()
    if fields is None:
        fields = [
            field.name
            for field in HandWritten._meta.concrete_fields
            if field.name not in ("id", "version")
        ]

    def way() -> None:
        instance.owner = next(names)
        row = manager.filter(pk=instance.pk, version=instance.version)
        values = {name: getattr(instance, name) for name in fields}
        if not row.update(**values, version=models.F("version") + 1):
            raise RuntimeError("a conflict, although nobody else writes")
        instance.version += 1

    return way


def finished_statement() -> harness.Way:
    """No ORM at all: Django's cursor and a statement that is ready."""
    from benchmarks.models import Locked

    instance = Locked.objects.get(pk=Locked.objects.create().pk)
    meta = Locked._meta
    quote = connection.ops.quote_name
    fields = [f for f in meta.concrete_fields if f.name not in ("id", "version")]
    assignments = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    sql = (
        f"UPDATE {quote(meta.db_table)} SET {assignments}, version = version + 1 "
        f"WHERE id = %s AND version = %s"
    )
    values = [
        field.get_db_prep_save(getattr(instance, field.attname), connection)
        for field in fields
    ]
    versions = count(1)

    def way() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, [*values, instance.pk, next(versions)])
            if cursor.rowcount != 1:
                raise RuntimeError("a conflict, although nobody else writes")

    return way


def sqlalchemy() -> harness.Way | None:
    """SQLAlchemy writes what has changed, which is one column, and commits."""
    try:
        import sqlalchemy as sa
        from sqlalchemy.orm import Session, declarative_base
    except ImportError:
        return None
    Base = declarative_base()  # noqa: N806 -- what everybody calls it

    class Row(Base):
        __tablename__ = "sqlalchemy_locked"
        id = sa.Column(
            sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True
        )
        owner = sa.Column(sa.String(100))
        email = sa.Column(sa.String(254))
        balance = sa.Column(sa.Numeric(12, 2, asdecimal=connection.vendor != "sqlite"))
        opened = sa.Column(sa.Date)
        active = sa.Column(sa.Boolean)
        modified = sa.Column(sa.DateTime)
        version = sa.Column(sa.BigInteger, nullable=False)
        __mapper_args__ = {"version_id_col": version}

    settings = connection.settings_dict
    url = {
        "sqlite": "sqlite://",
        "postgresql": "postgresql+psycopg://",
        "mysql": "mysql+mysqldb://",
    }
    engine = sa.create_engine(
        url[connection.vendor]
        if connection.vendor == "sqlite"
        else sa.engine.make_url(url[connection.vendor]).set(
            username=settings["USER"],
            password=settings["PASSWORD"] or None,
            host=settings["HOST"],
            database=settings["NAME"],
        )
    )
    harness.at_end(engine.dispose)
    Base.metadata.create_all(engine)
    session = Session(engine, expire_on_commit=False)
    harness.at_end(session.close)
    row = Row(owner="Ada", email="ada@example.com", balance=12.5, active=True)
    session.add(row)
    session.commit()
    names = new_names()

    def way() -> None:
        row.owner = next(names)
        session.commit()

    return way


if __name__ == "__main__":
    harness.main("save()", tables, rounds=60)
