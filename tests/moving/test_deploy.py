"""While a deploy lasts, processes with the old code and with the new write one row."""

from __future__ import annotations

import shutil
import tempfile

import django
import pytest

pytestmark = [pytest.mark.race, pytest.mark.timeout(900)]

#: Counts up, when all are there, and says how often.
WRITER = """
import os, random, time
from pathlib import Path
from django.db import DatabaseError
try:
    from ool import ConcurrentUpdate
except ImportError:
    ConcurrentUpdate = DatabaseError
done = 0
here = Path("{here}")
(here / str(os.getpid())).touch()
while len(os.listdir(here)) < {writers}:
    time.sleep(0.01)
for _ in range(25):
    while True:
        try:
            row = Line.objects.get()
            row.quantity += 1
            time.sleep(random.random() / 100)
            row.save({options})
        except (DatabaseError, ConcurrentUpdate):
            continue
        break
    done += 1
print("done", done)
"""
TRIGGER = """
from optilock import VersionTrigger
trigger = VersionTrigger(name="line_first", field="lock", column="lock_no")
with connection.schema_editor() as editor:
    editor.execute(trigger.create_sql(Line, editor), params=None)
"""


ROWS = {
    "concurrent": "Line.objects.create(order=Order.objects.create())",
    "optimistic": "Line.objects.create()",
}


@pytest.fixture
def race(make_project, request, tmp_path):
    """Run writers of both kinds, and tell how many increments are missing."""
    name = getattr(request, "param", "concurrent")
    project = make_project(name)
    project.prepare(ROWS[name])
    moved = project.beside()
    moved.run("-m", "optilock.moving", "--write")
    moved.manage("migrate", "-v0")

    def run(*, old, new=("", "")):
        project.do("Line.objects.update(quantity=0)")
        here, writers = tempfile.mkdtemp(dir=tmp_path), len(old) + len(new)
        code = [
            WRITER.format(options=options, here=here, writers=writers)
            for options in (*old, *new)
        ]
        projects = [project] * len(old) + [moved] * len(new)
        running = [one.start(lines) for one, lines in zip(projects, code, strict=True)]
        for process in running:
            said, _ = process.communicate(timeout=240)
            assert "done 25" in said, said
        counted = int(project.do("print(Line.objects.get().quantity)"))
        return 25 * len(running) - counted

    yield run, moved
    shutil.rmtree(moved.folder)


FIELDS = 'update_fields=["quantity"]'


def test_nothing_is_lost_between_saves_and_nothing_at_all_with_the_trigger(race):
    run, moved = race
    assert run(old=["", ""]) == 0
    # Their save(update_fields=...) doesn't bump, so this is what must be avoided.
    assert any(run(old=["", FIELDS]) for _ in range(5))
    moved.do(TRIGGER)
    assert run(old=["", FIELDS]) == 0
    assert run(old=[FIELDS], new=["", FIELDS]) == 0


@pytest.mark.skipif(
    django.VERSION >= (6,), reason="django-optimistic-lock doesn't run on Django 6"
)
@pytest.mark.parametrize("race", ["optimistic"], indirect=True)
def test_between_saves_of_django_optimistic_lock_nothing_is_lost(race):
    run, _ = race
    assert run(old=["", ""]) == 0
