"""A project with django-concurrency is moved forwards, back, and forwards again."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from django.db import connection

pytestmark = pytest.mark.skipif(
    not find_spec("libcst"), reason="needs the extra `move`"
)

HUGE = 1_800_000_000_000_000
ROWS = f"""
from stock.models import Box
order = Order.objects.create(number="1")
Order.objects.create(number="2")
Order.objects.filter(number="2").update(version=0)
Order.objects.filter(number="1").update(version={HUGE})
Line.objects.create(order=order, quantity=3).save()
Account.objects.create(balance=1)
Ledger.objects.create(balance=1)
Sheet.objects.create(text="a")
Box.objects.create(name="a", size=1)
"""
SHOW = """
from stock.models import Box
for model in (Order, Line, Account, Ledger, Sheet, Box):
    print(model.__name__, *model.objects.order_by("pk").values_list())
"""
TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    "mysql": "SELECT trigger_name FROM information_schema.triggers "
    "WHERE trigger_schema = DATABASE()",
}
SHOW_TRIGGERS = f"""
with connection.cursor() as cursor:
    cursor.execute({TRIGGERS[connection.vendor]!r})
    print("triggers:", *sorted(name for name, in cursor.fetchall()))
"""
#: What is left to see to in the code of the project.
REFUSED = """
from optilock import RecordModifiedError
from stock.models import Box
for model in (Order, Line, Account, Ledger, Sheet, Box):
    field = {Line: "quantity", Order: "note", Sheet: "text"}.get(model)
    field = field or ("size" if model is Box else "balance")
    mine, theirs = [model.objects.order_by("pk").first() for _ in range(2)]
    setattr(theirs, field, 5)
    theirs.save()
    theirs.save()
    try:
        mine.save()
    except RecordModifiedError:
        print(model.__name__, "refused")
    row = model.objects.get(pk=theirs.pk)
    assert str(getattr(row, field)) == "5"
"""


#: Nothing is wrong with the database.
CHECK = """
from optilock.database_checks import check_databases
assert check_databases(app_configs=None, databases=["default"]) == []
"""


@pytest.fixture
def project(make_project):
    """A project that has been used for a while."""
    project = make_project("concurrent")
    project.prepare(ROWS)
    return project


REFUSALS = [
    f"{name} refused" for name in ("Order", "Line", "Account", "Ledger", "Sheet", "Box")
]
THEIR_TRIGGERS = "triggers: concurrency_ledger concurrency_shop_account_version"
OUR_TRIGGERS = "triggers: shop_account_version shop_ledger_revision"
#: What others insert gets a number.
INSERT = """
Sheet.objects.all().delete()
with connection.cursor() as cursor:
    cursor.execute("INSERT INTO shop_sheet (text, views, reader) VALUES ('b', 0, '')")
assert Sheet.objects.get().version == 1
"""
MIGRATE = """
from django.core.management import call_command
call_command("migrate", {arguments} verbosity=0)
"""
#: With the old code the trigger counts, and rows can be written.
COUNTED = """
old = Account.objects.get().version
Account.objects.update(balance=9)
assert Account.objects.get().version == old + 1
order = Order.objects.first()
order.save()
Line.objects.create(order=order)
"""


@pytest.mark.timeout(900)
def test_forwards_backwards_and_forwards(project):
    project.keep()
    before, numbers = project.files(), project.do(SHOW)
    assert f"{HUGE}" in numbers
    # Only shown
    said = project.run("-m", "optilock.moving")
    assert project.files() == before
    assert "-    version = Triggered()" in said
    assert "+    version = IntegerVersionField()" in said
    # Forwards
    said = project.as_documented("From django-concurrency")
    assert "left for you" not in said
    assert "Nothing in" in project.run("-m", "optilock.moving")
    assert not [
        name
        for name, text in project.files().items()
        if "import concurrency" in text or "from concurrency" in text
    ]
    said = project.do(
        SHOW + SHOW_TRIGGERS + REFUSED + INSERT + CHECK + "print('now')" + SHOW
    )
    assert said.startswith(numbers)
    said, _, later = said[len(numbers) :].partition("now\n")
    assert said.rstrip("\n").split("\n") == [OUR_TRIGGERS, *REFUSALS]
    # Backwards
    for app in ("shop", "stock"):
        project.manage("migrate", "-v0", app, "0001")
    project.go_back()
    assert project.do(SHOW + SHOW_TRIGGERS + COUNTED) == f"{later}{THEIR_TRIGGERS}\n"
    # And forwards again
    numbers = project.do(SHOW)
    project.run("-m", "optilock.moving", "--write")
    said = project.do(MIGRATE.format(arguments="") + SHOW + SHOW_TRIGGERS + REFUSED)
    assert said.startswith(f"{numbers}{OUR_TRIGGERS}\nOrder refused\n")


def test_a_new_database_is_made_by_the_old_migrations_without_the_old_package(
    project, make_project
):
    project.run("-m", "optilock.moving", "--write")
    fresh = make_project("concurrent")
    project.database = fresh.database
    rows = ROWS.replace("update(version=0)", "update(number='2')")
    said = project.do(MIGRATE.format(arguments="") + rows + SHOW_TRIGGERS + REFUSED)
    assert said.rstrip("\n").split("\n") == [OUR_TRIGGERS, *REFUSALS]


def test_what_is_not_understood_is_named_and_left_as_it_is(project):
    (project.folder / "shop/left.py").write_text(LEFT)
    settings = project.folder / "config/settings.py"
    settings.write_text(settings.read_text() + 'CONCURRENCY_CALLBACK = "shop.told"\n')
    said = project.run("-m", "optilock.moving", "--write", status=1)
    found = [line for line in said.split("\n") if ": left for you: " in line]
    places = [line.partition(": left for you")[0] for line in found]
    assert places == [
        "config/settings.py:40",
        *(f"shop/left.py:{line}" for line in (10, 16, 26, 30, 34, 34, 38)),
    ], said
    text = (project.folder / "shop/left.py").read_text()
    assert text.startswith(LEFT[: LEFT.index("from django")])
    assert "with disable_concurrency():" in text
    assert "with disable_concurrency(order := Order()):" in text
    assert "from optilock import unlocked" not in text
    # The rest is changed, and what is left goes on to be told.
    assert "concurrency" not in (project.folder / "shop/models.py").read_text()
    project.run("-m", "optilock.moving", status=1)


LEFT = '''
from concurrency.api import disable_concurrency, is_changed
from concurrency.forms import VersionWidget
from django import forms
from django.views.generic import UpdateView

from shop.models import Order


class PlainForm(forms.ModelForm):
    class Meta:
        model = Order
        fields = ["number"]


class Edit(UpdateView):
    model = Order
    fields = ["number"]


def note():
    """Says "concurrency", and is left alone."""


def everything(order):
    with disable_concurrency():
        order.save()


with disable_concurrency(order := Order()):
    pass


widget = VersionWidget if is_changed(order) else None


def late(order):
    disable_concurrency(Order).start()
'''


def test_versions_that_stay_inputs(project):
    (project.folder / "shop/left.py").write_text(
        "from django import forms\n\nfrom shop.models import Order\n\n\n"
        "class PlainForm(forms.ModelForm):\n    class Meta:\n"
        "        model = Order\n        fields = ['number', 'version']\n"
    )
    project.run("-m", "optilock.moving", "--write", "--editable")
    text = (project.folder / "shop/models.py").read_text()
    assert text.count("editable=True") == 5
    project.manage("makemigrations", "--check", "-v0")
    project.do(
        MIGRATE.format(arguments="") + "from shop.left import PlainForm\n"
        "data = {'number': 'mine', 'version': Order.objects.first().version}\n"
        "Order.objects.first().save()\n"
        "form = PlainForm(data, instance=Order.objects.first())\n"
        "assert form.is_valid()\n"
        "from optilock import RecordModifiedError\n"
        "try:\n    form.save()\nexcept RecordModifiedError:\n    pass\n"
        "else:\n    raise AssertionError\n"
    )


def test_the_trigger_first_and_the_lock_later(project):
    models = project.folder / "shop/models.py"
    text = models.read_text()
    models.write_text(
        "from optilock import VersionTrigger\n"
        + text.replace(
            '    note = models.CharField(max_length=20, default="")\n',
            '    note = models.CharField(max_length=20, default="")\n\n'
            "    class Meta:\n"
            '        constraints = [VersionTrigger(name="shop_order_version")]\n',
        )
    )
    project.prepare(
        "old = Order.objects.get(number='2').version\n"
        "Order.objects.filter(number='2').update(note='x')\n"
        "assert Order.objects.get(number='2').version == old + 1"
    )
    project.run("-m", "optilock.moving", "--write")
    project.manage("makemigrations", "--check", "-v0")
    said = project.do(MIGRATE.format(arguments="") + SHOW_TRIGGERS + REFUSED)
    assert "shop_order_version" in said
    assert "Order refused" in said
