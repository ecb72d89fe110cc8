"""However it is inserted, a row is what Django would make it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from around import connected_with, refusing, spy, statements, undone
from django.apps.registry import Apps
from django.db import (
    IntegrityError,
    connection,
    connections,
    transaction,
)
from django.db import (
    models as fields,
)
from django.db.models import Manager, Model, QuerySet, Value
from django.db.models.functions import Upper
from django.db.models.sql import InsertQuery
from django.db.models.sql.compiler import SQLInsertCompiler
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import KINDS, in_memory, in_row
from testapp import models

from optilock import (
    RecordModifiedError,
    VersionedModel,
    fast_insert,
    get_version_field,
    plain_sql,
)

ROWS = st.lists(st.fixed_dictionaries({}, optional=KINDS), min_size=1, max_size=4)

WAYS = {
    "save": lambda obj: obj.save(),
    "bulk_create": lambda obj: type(obj).objects.bulk_create([obj]),
}


@pytest.fixture(params=WAYS)
def insert(request):
    return WAYS[request.param]


def forget_texts():
    vars(connections["default"]).pop("_optilock_known", None)


def compiles_nothing(monkeypatch):
    def compiled(*args, **kwargs):
        raise AssertionError("compiled")

    monkeypatch.setattr(fast_insert, "_learn", compiled)
    monkeypatch.setattr(fast_insert, "_sends_as_usual", lambda *args: True)
    monkeypatch.setattr(InsertQuery, "insert_values", compiled)


@pytest.mark.django_db
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS, in_bulk=st.booleans())
def test_both_ways_insert_the_same(rows, in_bulk):
    with transaction.atomic():  # a failing example must not spoil the next
        insert_both_ways(rows, in_bulk)


def insert_both_ways(rows, in_bulk):
    short = [models.LockedKinds(**values) for values in rows]
    djangos = [models.OrdinaryKinds(**values) for values in rows]
    for one, other in zip(short, djangos, strict=True):
        other.key = one.key
    if in_bulk:
        models.LockedKinds.objects.bulk_create(short)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fast_insert, "IS_KNOWN", False)
            models.OrdinaryKinds.objects.bulk_create(djangos)
    else:
        for instance in (*short, *djangos):
            instance.save()
    for one, other in zip(short, djangos, strict=True):
        assert in_memory(one) == in_memory(other)
        assert in_row(one) == in_row(other)
        one.save()


@pytest.mark.django_db
def test_the_second_row_compiles_nothing(insert, monkeypatch):
    insert(models.LockedKinds(text="one"))
    compiles_nothing(monkeypatch)
    second = models.LockedKinds(text="two", long=None, price=Decimal("1.50"))
    with statements() as sent:
        insert(second)
    assert len(sent) == 1
    assert in_row(second)["text"] == "two"
    assert models.LockedKinds.objects.get(text="two") == second
    second.save()


@pytest.mark.skipif(
    connection.vendor == "postgresql", reason="UNNEST() has the types of the columns"
)
@pytest.mark.django_db
def test_any_number_of_rows_compiles_nothing_once_several_were_inserted(monkeypatch):
    models.LockedKinds.objects.bulk_create(models.LockedKinds() for _ in range(2))
    compiles_nothing(monkeypatch)
    for number in (3, 2, 7):
        texts = [f"{number}-{index}" for index in range(number)]
        rows = [models.LockedKinds(text=text) for text in texts]
        models.LockedKinds.objects.bulk_create(rows)
        for text, row in zip(texts, rows, strict=True):
            row.refresh_from_db()
            assert row.text == text
            row.save()


@pytest.mark.django_db
def test_statement_is_djangos(insert, monkeypatch):
    insert(models.LockedKinds())
    with statements() as short:
        insert(
            models.LockedKinds(text="one", key="3c8a2f6e-6f0e-4a7e-9d53-6b1f8a3c5d11")
        )
    monkeypatch.setattr(fast_insert, "IS_KNOWN", False)
    with statements() as djangos:
        insert(
            models.LockedKinds(text="one", key="3c8a2f6e-6f0e-4a7e-9d53-6b1f8a3c5d11")
        )
    assert short == djangos


@pytest.mark.django_db
@pytest.mark.parametrize("has_key", [False, True])
def test_a_given_key_is_kept_and_one_that_isn_t_is_made(insert, has_key):
    insert(models.LockedKinds())
    row = models.LockedKinds(pk=12345 if has_key else None)
    insert(row)
    assert (row.pk == 12345) is has_key
    assert models.LockedKinds.objects.filter(pk=row.pk).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "values"),
    [
        (models.UUIDKey, lambda: {"name": "a"}),
        (models.StringKey, lambda: {"code": "50%", "name": "a"}),
        (models.CompositeKey, lambda: {"tenant": 1, "number": 2, "name": "a"}),
        (models.BorrowedKey, lambda: {"named": models.Named.objects.create(title="a")}),
        (models.Renamed, lambda: {"name": "a"}),
        (models.Computed, lambda: {"name": "a"}),
        (models.LockedChild, lambda: {"name": "a"}),
    ],
)
def test_each_kind_of_primary_key_and_of_table(model, values):
    for _ in range(2):
        with transaction.atomic():
            row = model(**values())
            row.save()
            assert getattr(row, get_version_field(model).name) == 1
            stale = model.objects.get(pk=row.pk)
            row.save()
            with pytest.raises(RecordModifiedError):
                stale.save()
            transaction.set_rollback(True)


@pytest.mark.django_db
def test_the_default_of_a_key_is_asked_once(monkeypatch):
    asked = spy(monkeypatch, fields.UUIDField, "get_pk_value_on_save")
    for _ in range(2):
        models.UUIDKey(id=None, name="a").save()
    assert len(asked) == 2


@pytest.mark.django_db
def test_what_the_database_makes_of_a_row_is_read_back():
    for _ in range(2):
        row = models.Computed.objects.create(name="one")
        assert (row.colour, vars(row).get("shout", "ONE")) == ("red", "ONE")


@pytest.mark.django_db
def test_an_object_holds_the_moment_that_is_in_its_row(insert):
    forget_texts()
    for number in range(2):
        row = models.Badge(number=number)
        insert(row)
        assert row.modified == models.Badge.objects.get(number=number).modified


@pytest.mark.django_db
@pytest.mark.parametrize("model", [models.UUIDKey, models.StringKeyAlone])
def test_an_object_that_holds_no_version_is_inserted_at_one(model, insert):
    values = {"code": "a"} if model is models.StringKeyAlone else {}
    for _ in range(2):
        row = model(name="one", **values)
        del row.version
        insert(row)
        assert row.version == 1
        row.delete()


@pytest.mark.django_db(transaction=True)
def test_a_column_whose_type_was_changed_takes_the_new_values():
    """On PostgreSQL, the text of many rows has the types of their columns."""

    def state(field):
        apps = Apps()
        meta = type("Meta", (), {"app_label": "testapp", "apps": apps})
        members = {"__module__": __name__, "Meta": meta, "amount": field}
        return type(Model)("Retyped", (VersionedModel,), members)

    before = state(fields.IntegerField())
    after = state(fields.DecimalField(max_digits=9, decimal_places=2))
    with connection.schema_editor() as editor:
        editor.create_model(before)
    try:
        before.objects.bulk_create(before(amount=number) for number in range(2))
        old, new = (model._meta.get_field("amount") for model in (before, after))
        with connection.schema_editor() as editor:
            editor.alter_field(before, old, new)
        amounts = [Decimal("1.99"), Decimal("2.50")]
        after.objects.bulk_create(after(amount=amount) for amount in amounts)
        found = after.objects.filter(amount__in=amounts).count()
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(after)
    assert found == 2


@pytest.mark.django_db
def test_tables_are_named_as_the_backend_names_them_now(insert, monkeypatch):
    """A backend that keeps tenants apart may say another name for each."""
    insert(models.LockedKinds())
    ops = type(connection.ops)
    original = ops.quote_name

    def quote_name(self, name):
        name = "of_another" if name == "testapp_lockedkinds" else name
        return original(self, name)

    monkeypatch.setattr(ops, "quote_name", quote_name)
    with refusing("INSERT") as seen, transaction.atomic():
        insert(models.LockedKinds(pk=5))
    assert "of_another" in seen[0]


@pytest.mark.django_db
def test_a_field_that_sets_others_is_left_to_django(insert, monkeypatch):
    """An `upload_to` may; Django 6.1 asks for all values twice then."""

    def pre_save(self, instance, add):
        if self.name == "text":
            instance.long = "set by another"
        return getattr(instance, self.attname)

    monkeypatch.setattr(fields.CharField, "pre_save", pre_save, raising=False)
    monkeypatch.setattr(
        models.LockedKinds._meta.get_field("version").lock, "plain_inserts", {}
    )
    found = []
    for is_known in (True, False):
        monkeypatch.setattr(fast_insert, "IS_KNOWN", is_known)
        row = models.LockedKinds(text="one")
        insert(row)
        found.append(in_row(row)["long"])
    assert found[0] == found[1]


@pytest.mark.skipif(
    not hasattr(Model, "_assign_returned_values"), reason="came with Django 6.0"
)
@pytest.mark.django_db
def test_a_models_own_way_to_take_what_is_returned_is_called(monkeypatch):
    models.LockedKinds().save()
    calls = spy(monkeypatch, models.LockedKinds, "_assign_returned_values")
    models.LockedKinds().save()
    assert len(calls) == 1


@pytest.mark.django_db
def test_what_is_read_back_is_converted(insert, monkeypatch):
    insert(models.Computed(name="one", colour="blue"))
    colour = models.Computed._meta.get_field("colour")

    def from_db_value(value, expression, connection):
        return value.upper()

    monkeypatch.setattr(colour, "from_db_value", from_db_value, raising=False)
    row = models.Computed(name="one", colour="blue")
    insert(row)
    assert row.colour == "BLUE"


@pytest.mark.django_db
def test_what_the_backend_converts_is_read_by_django(insert, monkeypatch):
    forget_texts()
    ops = type(connection.ops)

    def get_db_converters(self, expression):
        return [lambda value, expression, connection: int(value)]

    monkeypatch.setattr(ops, "get_db_converters", get_db_converters)
    for _ in range(2):
        author = models.Author()
        insert(author)
        assert type(author.pk) is int
    forget_texts()


@pytest.mark.skipif(
    connection.vendor == "postgresql", reason="psycopg tells of a key in no other way"
)
@pytest.mark.django_db
def test_a_database_that_can_t_return_columns_tells_the_key_as_it_can(monkeypatch):
    models.LockedKinds().save()
    features = type(connection.features)
    monkeypatch.setattr(features, "can_return_columns_from_insert", False)
    row = models.LockedKinds(text="one")
    row.save()
    assert models.LockedKinds.objects.get(text="one") == row


@pytest.mark.django_db
def test_rows_are_written_as_the_backend_writes_them(monkeypatch):
    forget_texts()
    ops = type(connection.ops)
    original = ops.bulk_insert_sql

    def bulk_insert_sql(self, *args):
        return original(self, *args).replace("), (", "),  (")

    monkeypatch.setattr(ops, "bulk_insert_sql", bulk_insert_sql)
    for _ in range(2):
        with statements() as sent:
            models.Author.objects.bulk_create([models.Author(), models.Author()])
        assert connection.vendor == "postgresql" or "),  (" in sent[0]
    assert models.Author.objects.count() == 4


@pytest.mark.django_db
def test_rows_keep_the_order_they_are_given():
    author = models.Author.objects.create()
    for number in range(3):
        models.Chapter.objects.create(author=author, title=str(number))
    assert [*author.get_chapter_order()] == [
        *models.Chapter.objects.order_by("title").values_list("pk", flat=True)
    ]


@pytest.mark.django_db
def test_expressions_are_compiled(insert):
    for _ in range(2):
        row = models.LockedKinds(text=Upper(Value("loud")))
        insert(row)
        assert models.LockedKinds.objects.get(pk=row.pk).text == "LOUD"


@pytest.mark.django_db
def test_fields_with_their_own_ways_keep_them(insert):
    for text, blob in [("a", b"\x00\xff"), ("b", b"")]:
        row = models.Unusual(shouted=text, placed=text, blob=blob)
        insert(row)
        row.refresh_from_db()
        assert (row.shouted, row.placed) == (f"{text}!", text.upper())
        assert bytes(row.blob) == blob
        raised = models.Raised(text=text)
        insert(raised)
        assert models.Raised.objects.get(pk=raised.pk).text == text.upper()


@pytest.mark.django_db
def test_own_pre_save_is_asked_as_often_as_by_django(insert, monkeypatch):
    ticks = []
    for is_known in (True, False):
        monkeypatch.setattr(fast_insert, "IS_KNOWN", is_known)
        row = models.Ticking()
        insert(row)
        assert models.Ticking.objects.get(pk=row.pk).ticks == row.ticks
        ticks.append(row.ticks)
    assert ticks[0] == ticks[1]


@pytest.mark.django_db
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (SQLInsertCompiler, "as_sql"),
        (SQLInsertCompiler, "execute_sql"),
        (SQLInsertCompiler, "field_as_sql"),
        (SQLInsertCompiler, "pre_save_val"),
        (SQLInsertCompiler, "prepare_value"),
        (InsertQuery, "__init__"),
        (InsertQuery, "get_compiler"),
        (InsertQuery, "insert_values"),
        (QuerySet, "_insert"),
        (fields.CharField, "get_prep_value"),
        (fields.Field, "get_db_prep_save"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_patched_method_is_called(owner, name, is_warm, insert, monkeypatch):
    """Packages that cache, trace or separate tenants hook into these."""
    if is_warm:
        insert(models.LockedKinds())
    calls = spy(monkeypatch, owner, name)
    row = models.LockedKinds(text="one")
    insert(row)
    found = len(calls)
    assert found
    monkeypatch.setattr(fast_insert, "IS_KNOWN", False)
    calls.clear()
    insert(models.LockedKinds(text="one"))
    assert len(calls) == found


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Model, "_do_insert"), (Model, "_save_table"), (Manager, "_insert")],
)
def test_patched_method_of_a_save_is_called(owner, name, monkeypatch):
    models.LockedKinds().save()
    calls = spy(monkeypatch, owner, name)
    models.LockedKinds().save()
    assert calls


@pytest.mark.django_db
def test_a_models_own_do_insert_is_called(monkeypatch):
    models.LockedKinds().save()
    monkeypatch.setattr(
        models.LockedKinds, "_do_insert", Model._do_insert, raising=False
    )
    calls = spy(monkeypatch, models.LockedKinds, "_do_insert")
    models.LockedKinds().save()
    assert len(calls) == 1


class InsertingCompiler(SQLInsertCompiler):
    """Says whose the rows are, as some packages' backends do."""

    def pre_save_val(self, field, obj):
        return "mine" if field.name == "text" else super().pre_save_val(field, obj)


@pytest.mark.django_db
@pytest.mark.parametrize("of", ["one connection", "all"])
def test_backend_s_own_compiler_is_used(of, insert, monkeypatch):
    insert(models.LockedKinds())
    ops = connections["default"].ops
    owner = ops if of == "one connection" else type(ops)
    original = owner.compiler

    def compiler(*args):
        is_insert = args[-1] == "SQLInsertCompiler"
        return InsertingCompiler if is_insert else original(*args)

    monkeypatch.setattr(owner, "compiler", compiler)
    row = models.LockedKinds(text="theirs")
    insert(row)
    assert models.LockedKinds.objects.get(pk=row.pk).text == "mine"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("owner", "attribute"),
    [
        (models.LockedKinds._meta, "db_table"),
        (models.LockedKinds._meta.get_field("text"), "column"),
        (models.LockedKinds._meta.pk, "column"),
        (models.LockedKinds._meta.get_field("version"), "column"),
    ],
    ids=["table", "column", "primary key", "version"],
)
def test_renamed_thing_is_called_by_its_new_name(owner, attribute, insert, monkeypatch):
    insert(models.LockedKinds())
    monkeypatch.setattr(owner, attribute, "another_name")
    with refusing("INSERT") as seen, transaction.atomic():
        insert(models.LockedKinds(pk=5))
    assert "another_name" in seen[0]


@pytest.mark.django_db
def test_connection_remembers_a_limited_number_of_statements(monkeypatch):
    monkeypatch.setattr(plain_sql, "MAX_KNOWN", 1)
    forget_texts()
    for model in (models.LockedKinds, models.UUIDKey, models.Badge):
        row = model(**({"number": 1} if model is models.Badge else {}))
        row.save()
        assert len(connection._optilock_known) == 1
        row.save()


@pytest.mark.django_db
def test_a_row_that_is_there_is_no_less_an_error_than_in_django(insert):
    insert(models.Badge(number=1))
    insert(models.Badge(number=2))
    again = models.Badge(number=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(again)
    assert again._state.adding
    assert again.pk is None
    again.number = 3
    insert(again)
    assert models.Badge.objects.get(number=3) == again
    again.save()


@pytest.mark.django_db
def test_what_was_inserted_and_rolled_back_is_new_again(insert):
    insert(models.LockedKinds())
    row = models.LockedKinds(text="one")
    undone(lambda: insert(row))
    assert row._state.adding
    insert(row)
    assert models.LockedKinds.objects.get(text="one") == row
    row.save()


@pytest.mark.django_db
def test_a_version_that_is_given_is_kept_and_a_copy_starts_at_one(insert):
    insert(models.LockedKinds())
    row = models.LockedKinds(version=7)
    insert(row)
    row.save()
    assert row.version == models.LockedKinds.objects.get(pk=row.pk).version == 8
    row.pk = None
    insert(row)
    assert row.version == models.LockedKinds.objects.get(pk=row.pk).version == 1


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only psycopg binds on the server"
)
@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.parametrize(
    "options",
    [{"server_side_binding": True}, {"prepare_threshold": 0}],
    ids=lambda options: next(iter(options)),
)
def test_parameters_bound_on_the_server(options):
    rows = models.LockedKinds.objects.using("other")
    with connected_with(options, "other"):
        for number in range(1, 8):
            made = [
                models.LockedKinds(number=number, long=None if number % 2 else "even")
                for _ in range(number % 3 + 1)
            ]
            rows.bulk_create(made)
            models.LockedKinds(number=-number).save(using="other")
            assert rows.filter(number=number).count() == len(made)
        assert rows.filter(number__lt=0).count() == 7
