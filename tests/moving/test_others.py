"""Projects with django-optimistic-lock, or with a column of their own, are moved."""

from __future__ import annotations

import django
import pytest

REFUSED = """
from optilock import RecordModifiedError
mine, theirs = [{model}.objects.order_by("pk").first() for _ in range(2)]
theirs.{field} = 5
theirs.save()
theirs.save()
try:
    mine.save()
except RecordModifiedError as error:
    print("refused", error.current_version)
"""


@pytest.mark.skipif(
    django.VERSION >= (6,), reason="django-optimistic-lock doesn't run on Django 6"
)
def test_django_optimistic_lock(make_project):
    project = make_project("optimistic")
    project.prepare(
        "Order.objects.create(number='1').save()\nLine.objects.create(quantity=3)\n"
        "Line.objects.create()\nLine.objects.filter(quantity=0).update(lock=None)"
    )
    project.keep()
    show = "print(*Order.objects.values_list(), *Line.objects.values_list())"
    numbers = project.do(show)
    project.as_documented("From django-optimistic-lock")
    numbers = numbers.replace("None", "1")
    assert not any("ool" in text for text in project.files().values())
    said = project.do(
        show
        + REFUSED.format(model="Order", field="number")
        + REFUSED.format(model="Line", field="quantity")
        # A number that their column couldn't hold.
        + "Line.objects.update(lock=2**40)\nLine.objects.first().save()\n"
        "Line.objects.update(lock=7)"
    )
    assert said == f"{numbers}refused 3\nrefused 2\n"
    # Backwards: what is in the column can be counted on.
    numbers = project.do(show)
    project.manage("migrate", "-v0", "shop", "0001")
    project.go_back()
    assert project.do(show) == numbers
    project.do("Line.objects.first().save()\nLine.objects.create(quantity=3)")


@pytest.mark.parametrize(
    ("old", "new", "rows", "model"),
    [
        (
            "rev = models.IntegerField(null=True)",
            "rev = IntegerVersionField()",
            "for n in (None, 0, -3, 7): Order.objects.create(rev=n)",
            ("Order", "rev", [1, 0, -3, 7], "number"),
        ),
        (
            'lock = models.PositiveIntegerField(default=0, db_column="lock_no")',
            'lock = IntegerVersionField(db_column="lock_no")',
            "for n in (0, 7): Line.objects.create(lock=n)",
            ("Line", "lock", [0, 7], "quantity"),
        ),
        (
            "etag = models.BigIntegerField(default=0)",
            "etag = IntegerVersionField()",
            "for n in (1764136800, 2**62): Sheet.objects.create(etag=n)",
            ("Sheet", "etag", [1764136800, 2**62], "text"),
        ),
    ],
    ids=["null", "positive", "huge"],
)
def test_a_column_of_ones_own(make_project, old, new, rows, model):
    project = make_project("handmade")
    project.prepare(rows)
    path = project.folder / "shop/models.py"
    text = path.read_text()
    assert old in text
    path.write_text(
        "from optilock import IntegerVersionField\n" + text.replace(old, new)
    )
    project.as_documented("From a column of your own")
    name, field, numbers, other = model
    show = f"print(*{name}.objects.order_by('pk').values_list({field!r}, flat=True))"
    said = project.do(show + REFUSED.format(model=name, field=other))
    assert said == f"{' '.join(map(str, numbers))}\nrefused {numbers[0] + 2}\n"
    # Backwards, which undoes the column's type as well.
    project.manage("migrate", "-v0", "shop", "0001")
    path.write_text(text)
    project.do(f"{name}.objects.create()")


def test_a_timestamp(make_project):
    project = make_project("handmade")
    project.prepare("Letter.objects.create(text='a')")
    path = project.folder / "shop/models.py"
    text = path.read_text()
    old = "    modified = models.DateTimeField"
    path.write_text(
        "from optilock import IntegerVersionField\n"
        + text.replace(old, f"    version = IntegerVersionField()\n{old}")
    )
    project.as_documented("From a timestamp")
    assert project.do(REFUSED.format(model="Letter", field="text")) == "refused 3\n"
    # The old code goes on inserting, and the rows have a number.
    path.write_text(text)
    project.do("Letter.objects.create(text='b')")
    with_version = "SELECT version FROM shop_letter ORDER BY id"
    assert (
        project.do(
            f"with connection.cursor() as cursor:\n"
            f"    cursor.execute({with_version!r})\n"
            f"    print(cursor.fetchall()[1][0])"
        )
        == "1\n"
    )
