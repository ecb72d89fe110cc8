"""What does it cost to remember the values that instances were loaded with?

Loads the same rows as instances of a ``VersionedModel``, which remember, and as
instances of Django's own ``Model``, in turns, and compares time and memory:

    python benchmarks/load.py --json load.json
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
import tracemalloc
from typing import Any

import django
from django.conf import settings

ROWS = 2000


def configure() -> tuple[Any, Any]:
    """Return a model that remembers and Django's own, on the same table."""
    settings.configure(
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        INSTALLED_APPS=["optilock"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()
    from django.db import connection, models

    from optilock import VersionedModel

    class Fields(models.Model):
        # With the primary key and the version: seven fields.
        owner = models.CharField(max_length=100)
        email = models.EmailField()
        balance = models.DecimalField(max_digits=12, decimal_places=2)
        opened = models.DateField()
        modified = models.DateTimeField(auto_now=True)

        class Meta:
            abstract = True

    class Account(VersionedModel, Fields):
        class Meta:
            app_label = "optilock"
            db_table = "account"

    class Plain(Fields):
        version = models.BigIntegerField(default=1)

        class Meta:
            app_label = "optilock"
            db_table = "account"
            managed = False

    with connection.schema_editor() as editor:
        editor.create_model(Account)
    Account._default_manager.bulk_create(
        Account(
            owner=f"Ada {i}",
            email=f"ada{i}@example.com",
            balance=f"{i}.50",
            opened="2024-02-29",
        )
        for i in range(ROWS)
    )
    return Account, Plain


def cpu(model: Any) -> float:
    """Return the CPU microseconds it takes to load one instance."""
    rows = model._default_manager.all()
    gc.collect()
    gc.disable()
    start = time.process_time_ns()
    instances = list(rows)
    elapsed = time.process_time_ns() - start
    gc.enable()
    return elapsed / len(instances) / 1000


def size(model: Any) -> float:
    """Return the bytes that one loaded instance holds, values included."""
    gc.collect()
    tracemalloc.start()
    instances = list(model._default_manager.all())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(instances)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    models = dict(zip(("remembers", "plain"), configure(), strict=True))
    for model in models.values():
        cpu(model)
    microseconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(options.rounds):
        # A pair in each round, so that a busy moment of the machine hits both.
        for name in sorted(models, reverse=bool(turn % 2)):
            microseconds[name].append(cpu(models[name]))
    sizes = {name: size(model) for name, model in models.items()}
    ratios = [
        mine / other
        for mine, other in zip(
            microseconds["remembers"], microseconds["plain"], strict=True
        )
    ]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    more = sizes["remembers"] - sizes["plain"]
    for name, samples in microseconds.items():
        middle = statistics.median(samples)
        print(f"{name:10} {middle:6.2f} µs  {sizes[name]:7.0f} bytes an instance")
    print(f"remembering: {ratio - 1:+.1%} time (middle half {low - 1:+.1%} to ", end="")
    print(f"{high - 1:+.1%}), {more:+.0f} bytes an instance")
    if options.json:
        result = {
            "title": "loading seven fields",
            "python": platform.python_version(),
            "django": django.__version__,
            "rows": ROWS,
            "microseconds": microseconds,
            "bytes": sizes,
        }
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
