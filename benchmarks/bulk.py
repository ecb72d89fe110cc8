"""Write many rows at once: Django's bulk_update(), optilock's, loops of save().

    python -m pip install -e ".[benchmarks]"
    OPTILOCK_TEST_DATABASE=postgresql python benchmarks/bulk.py

Everything is measured in turns, round by round, within one run: the ratios hold
on a noisy machine, the times don't. Django's call builds statements whose cost
grows with the square of the batch, so it is measured with the batch size that
suits it best; ``--plain`` measures it as it is usually typed as well, which can
take minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import django
from django.conf import settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "example_project"))
from testapp.settings import CHOICE, CHOICES, database

settings.configure(
    DATABASES={"default": database("bulk")},
    INSTALLED_APPS=["concurrency", "optilock"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from concurrency.fields import (  # noqa: E402
    IntegerVersionField as ConcurrencyVersionField,
)
from django.db import connection, models, transaction  # noqa: E402

from optilock import VersionedModel  # noqa: E402

FIELDS = ["name", "number", "price", "moment", "active", "note"]
OURS = "optilock bulk_update(), checked"
BATCH_SIZES = [25, 50, 100, 200]


class Shape(models.Model):
    name = models.CharField(max_length=100)
    number = models.IntegerField()
    price = models.DecimalField(max_digits=12, decimal_places=2)
    moment = models.DateTimeField()
    active = models.BooleanField()
    note = models.TextField()

    class Meta:
        abstract = True
        app_label = "benchmarks"

    def change(self, seed: int) -> None:
        self.name = f"name {seed}"
        self.number = seed
        self.price = Decimal(seed) / 4
        self.moment = datetime.fromtimestamp(1_700_000_000 + seed, timezone.utc)
        self.active = seed % 2 == 0
        self.note = f"a longer text about {seed}"


class Plain(Shape):
    class Meta(Shape.Meta):
        pass


class Locked(Shape, VersionedModel):
    class Meta(Shape.Meta):
        pass


class Concurrency(Shape):
    version = ConcurrencyVersionField()

    class Meta(Shape.Meta):
        pass


def bulk_update(batch_size: int | None = None) -> Callable[[Any], None]:
    def write(objs: Any) -> None:
        type(objs[0]).objects.bulk_update(objs, FIELDS, batch_size=batch_size)

    return write


def save_each(objs: Any) -> None:
    with transaction.atomic():
        for obj in objs:
            obj.save()


def measure(
    contenders: dict[str, tuple[type[Any], Callable[[Any], None]]],
    rows: int,
    rounds: int,
) -> dict[str, float]:
    """Return the median time of each contender in seconds."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, (model, write) in contenders.items():
            objs = list(model.objects.order_by("pk")[:rows])
            for obj in objs:
                obj.change(obj.pk + number + 1)
            start = time.perf_counter()
            write(objs)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def best_batch_size(rows: int) -> int:
    """Return the batch size with which Django's bulk_update() is fastest here."""
    sizes = [size for size in BATCH_SIZES if size < rows]
    if len(sizes) < 2:
        return rows
    contenders = {str(size): (Plain, bulk_update(size)) for size in sizes}
    times = measure(contenders, min(rows, 1000), rounds=3)
    return int(min(times, key=times.__getitem__))


def run(rows: int, rounds: int, plain: bool) -> dict[str, Any]:
    best = best_batch_size(rows)
    unchecked = f"Django bulk_update(batch_size={best}), unchecked"
    times = measure(
        {
            unchecked: (Plain, bulk_update(best)),
            OURS: (Locked, bulk_update()),
            "optilock, a loop of save()": (Locked, save_each),
            "django-concurrency, a loop of save()": (Concurrency, save_each),
        },
        rows,
        rounds,
    )
    if plain:
        name = "Django bulk_update(), unchecked"
        times |= measure({name: (Plain, bulk_update())}, rows, rounds=1)
    return {
        "rows": rows,
        "fields": len(FIELDS),
        "seconds": times,
        "ratios": {
            name: times[OURS] / seconds
            for name, seconds in times.items()
            if name != OURS
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        with connection.schema_editor() as editor:
            for model in (Plain, Locked, Concurrency):
                editor.create_model(model)
        for model in (Plain, Locked, Concurrency):
            objs = [model() for _ in range(max(options.rows))]
            for seed, obj in enumerate(objs):
                obj.change(seed)
            model.objects.bulk_create(objs)
        results = [
            # Small writes are over soon: measure them more often.
            run(rows, max(options.rounds, min(200, 2000 // rows)), options.plain)
            for rows in options.rows
        ]
    finally:
        connection.creation.destroy_test_db(
            CHOICES[CHOICE].get("NAME", name), verbosity=0
        )
    report = {"database": CHOICE, "django": django.__version__, "results": results}
    for result in results:
        print(f"{CHOICE}, Django {django.__version__}, {result['rows']} rows, 6 fields")
        for name, seconds in result["seconds"].items():
            ratio = result["ratios"].get(name)
            note = f"   {OURS} takes {ratio:.3f} of it" if ratio else ""
            print(f"  {name:<50}{seconds * 1000:>10.1f} ms{note}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
