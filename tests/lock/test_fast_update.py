"""However it is written, a row is written like Django would write it."""

from __future__ import annotations

import datetime
from decimal import Decimal
from functools import wraps
from types import MethodType

import pytest
from around import connected_with, refusing, spy
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django.db.models import (
    CharField,
    DateField,
    DateTimeField,
    DecimalField,
    F,
    Field,
    Manager,
    Model,
    QuerySet,
    Value,
)
from django.db.models.expressions import Col
from django.db.models.functions import Upper
from django.db.models.lookups import Exact
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler, SQLUpdateCompiler
from django.db.models.sql.where import WhereNode
from django.test.utils import CaptureQueriesContext, register_lookup
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import KINDS, in_memory, in_row
from testapp import models

from optilock import RecordModifiedError, fast_update, plain_fields, plain_sql

DAY = datetime.date(2024, 2, 29)
MOMENT = datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.timezone.utc)
ONE_DAY = datetime.timedelta(1)
SAVES = st.lists(
    st.tuples(
        st.fixed_dictionaries({}, optional=KINDS),
        st.none() | st.sets(st.sampled_from(list(KINDS)), min_size=1),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.django_db
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(saves=SAVES)
def test_both_ways_write_the_same(saves):
    with transaction.atomic():  # a failing example must not spoil the next
        write_both_ways(saves)


def write_both_ways(saves):
    locked = models.LockedKinds.objects.create()
    ordinary = models.OrdinaryKinds.objects.create(key=locked.key)
    for values, update_fields in saves:
        for instance in (locked, ordinary):
            for name, value in values.items():
                setattr(instance, name, value)
            instance.save(update_fields=update_fields)
        assert in_memory(locked) == in_memory(ordinary)
        assert in_row(locked) == in_row(ordinary)


def known(model, **values):
    """Return an instance, and let its connection know how it is saved."""
    instance = model.objects.create(**values)
    instance.save()
    return instance


def sql_of(save):
    with CaptureQueriesContext(connection) as queries:
        save()
    return [query["sql"] for query in queries]


@pytest.mark.django_db
def test_save_is_one_statement_and_is_logged():
    instance = known(models.LockedKinds, text="one")
    (sql,) = sql_of(instance.save)
    assert sql.startswith("UPDATE")
    assert "one" in sql


@pytest.mark.django_db
def test_execute_wrapper_sees_the_statement():
    instance = known(models.LockedKinds, text="one")
    seen = []

    def wrapper(execute, sql, params, many, context):
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        instance.save()
    ((sql, params),) = seen
    assert sql.count("%s") == len(params)
    assert "one" in params


@pytest.mark.django_db
def test_the_parts_of_a_composite_key_are_not_written():
    row = known(models.CompositeKey, tenant=1, number=2, name="a")
    with CaptureQueriesContext(connection) as queries:
        row.save()
    [query] = queries.captured_queries
    written = query["sql"].partition(" WHERE ")[0]
    assert "name" in written
    assert "tenant" not in written


@pytest.mark.django_db
@pytest.mark.parametrize("before", ["filled", None])
@pytest.mark.parametrize("after", ["filled", None])
def test_null_and_not_null_share_a_statement(before, after):
    instance = known(models.LockedKinds, long=before)
    instance.long = after
    instance.save()
    instance.refresh_from_db()
    assert instance.long == after


@pytest.mark.django_db
@pytest.mark.parametrize(
    "values",
    [
        {"number": F("number") + 1},
        {"text": Upper(Value("loud"))},
        {"number": F("number") + 1, "text": Upper(Value("loud"))},
    ],
)
def test_expressions_are_compiled(values):
    instance = known(models.LockedKinds, number=1, text="loud")
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save()
    row = models.LockedKinds.objects.get()
    assert row.number == (2 if "number" in values else 1)
    assert row.text == ("LOUD" if "text" in values else "loud")
    assert row.version == instance.version == 3


@pytest.mark.django_db
def test_fields_with_their_own_ways_keep_them():
    instance = known(models.Unusual)
    for text, blob in [("a", b"\x00\xff"), ("b", b"")]:
        instance.shouted, instance.placed, instance.blob = text, text, blob
        instance.save()
        row = models.Unusual.objects.get()
        assert row.shouted == f"{text}!"
        assert row.placed == text.upper()
        assert bytes(row.blob) == blob


@pytest.mark.django_db
def test_what_a_field_stores_may_be_an_expression_of_its_own():
    instance = known(models.Raised)
    stale = models.Raised.objects.get()
    instance.text = "abc"
    instance.save()
    assert models.Raised.objects.get().text == "ABC"
    with pytest.raises(RecordModifiedError):
        stale.save()


@pytest.mark.django_db
def test_own_preparation_is_used_by_a_known_statement():
    instance = known(models.Unusual)
    for text in ("a", None, "b"):
        instance.shouted = text
        instance.save(update_fields=["shouted"])
        row = models.Unusual.objects.get()
        assert row.shouted == (text and f"{text}!")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "values"),
    [
        (models.UUIDKey, lambda: {"name": "a"}),
        (models.StringKey, lambda: {"code": "50%", "name": "a"}),
        (models.CompositeKey, lambda: {"tenant": 1, "number": 2, "name": "a"}),
        (models.BorrowedKey, lambda: {"named": models.Named.objects.create(title="a")}),
        (models.Renamed, lambda: {"name": "a"}),
    ],
)
def test_each_kind_of_primary_key_guards(model, values):
    instance = known(model, **values())
    stale = model.objects.get(pk=instance.pk)
    instance.save()
    with pytest.raises(RecordModifiedError):
        stale.save()
    instance.save()
    assert model.objects.filter(pk=instance.pk).exists()


@pytest.mark.django_db
def test_number_that_no_row_can_have_is_a_conflict():
    instance = known(models.LockedKinds)
    instance.version = 2**70
    with pytest.raises(RecordModifiedError):
        instance.save()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (SQLCompiler, "execute_sql"),
        (SQLUpdateCompiler, "execute_sql"),
        (SQLUpdateCompiler, "as_sql"),
        (UpdateQuery, "get_compiler"),
        (QuerySet, "filter"),
        (QuerySet, "_update"),
        (QuerySet, "using"),
        (Manager, "get_queryset"),
        (Manager, "using"),
        (Model, "_save_table"),
        (Model, "_do_update"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_patched_method_is_called(owner, name, monkeypatch):
    """Packages that cache, trace or separate tenants hook into these."""
    instance = known(models.LockedKinds)
    calls = spy(monkeypatch, owner, name)
    instance.save()
    assert calls
    assert models.LockedKinds.objects.get().version == 3


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["plain", Upper(Value("expression"))])
def test_own_pre_save_is_asked_once(text):
    instance = known(models.Ticking)
    before, instance.text = instance.ticks, text
    instance.save()
    assert instance.ticks == models.Ticking.objects.get().ticks == before + 1


@pytest.mark.django_db
@pytest.mark.parametrize("model", [models.TabledInFront, models.TabledBehind])
def test_another_packages_save_table_is_called(model):
    instance = known(model)
    instance.save()
    assert instance.tables == [model] * 3
    assert model.objects.get().version == 3


@pytest.mark.django_db
def test_base_manager_of_ones_own_is_asked_for_the_row():
    instance = known(models.Tenanted)
    models.Tenanted.objects.update(tenant="theirs")
    instance.refresh_from_db(from_queryset=models.Tenanted.objects.all())
    with pytest.raises(RecordModifiedError):
        instance.save()


@pytest.mark.django_db
def test_condition_of_another_package_counts(monkeypatch):
    """A tenant's filter, added when the compiler is made."""
    instance = known(models.LockedKinds, text="theirs")
    original = UpdateQuery.get_compiler

    def get_compiler(self, *args, **kwargs):
        self.add_filter("text", "mine")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(UpdateQuery, "get_compiler", get_compiler)
    with pytest.raises(RecordModifiedError):
        instance.save()


@pytest.mark.django_db
def test_narrowed_queryset_stays_narrow(monkeypatch):
    instance = known(models.LockedKinds, text="theirs")
    locked = models.LockedKinds._do_update

    def _do_update(self, base_qs, *args, **kwargs):
        return locked(self, base_qs.filter(text="mine"), *args, **kwargs)

    monkeypatch.setattr(models.LockedKinds, "_do_update", _do_update)
    with pytest.raises(RecordModifiedError):
        instance.save()


@pytest.mark.django_db
def test_lookup_registered_later_is_used():
    instance = known(models.StringKey, code="A", name="one")

    class Folded(Exact):
        def as_sql(self, compiler, connection):
            lhs, params = self.process_lhs(compiler, connection)
            rhs, rhs_params = self.process_rhs(compiler, connection)
            return f"LOWER({lhs}) = LOWER({rhs})", (*params, *rhs_params)

    field = models.StringKey._meta.pk
    with register_lookup(type(field), Folded):
        (sql,) = sql_of(instance.save)
        assert "LOWER(" in sql
    with register_lookup(field, Folded):
        (sql,) = sql_of(instance.save)
        assert "LOWER(" in sql
    (sql,) = sql_of(instance.save)
    assert "LOWER(" not in sql


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
def test_renamed_thing_is_called_by_its_new_name(owner, attribute, monkeypatch):
    instance = known(models.LockedKinds)
    monkeypatch.setattr(owner, attribute, "another_name")
    with refusing() as seen:
        instance.save()
    assert "another_name" in seen[0]


@pytest.mark.django_db
def test_connection_remembers_a_limited_number_of_statements(monkeypatch):
    monkeypatch.setattr(plain_sql, "MAX_KNOWN", 3)
    monkeypatch.setattr(plain_fields, "MAX_KNOWN", 3)
    instance = known(models.LockedWide)
    for number in range(10):
        instance.save(update_fields=[f"field{number}"])
        assert len(connection._optilock_known) <= 3
    assert models.LockedWide.objects.get().version == 12


@pytest.mark.django_db
def test_generated_field_follows():
    instance = known(models.Computed, name="one")
    instance.name = "two"
    instance.save()
    instance.refresh_from_db()
    assert instance.shout == "TWO"


@pytest.mark.django_db
def test_deferred_field_is_left_alone():
    pk = known(models.LockedKinds, text="one", number=1).pk
    instance = models.LockedKinds.objects.defer("text").get(pk=pk)
    instance.number = 2
    (sql,) = sql_of(instance.save)
    assert "number" in sql
    assert '"text"' not in sql.replace("`", '"')


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
    with connected_with(options, "other"):
        instance = models.LockedKinds(text="one", price=Decimal("1.50"))
        instance.save(using="other")
        for number in range(10):
            instance.number = number
            instance.long = None if number % 2 else "even"
            instance.save(using="other")
        row = models.LockedKinds.objects.using("other").get()
        assert (row.number, row.long, row.version) == (9, None, 11)


@pytest.mark.django_db
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (SQLUpdateCompiler, "pre_sql_setup"),
        (SQLUpdateCompiler, "compile"),
        (
            SQLUpdateCompiler,
            "quote_name"
            if hasattr(SQLUpdateCompiler, "quote_name")
            else "quote_name_unless_alias",
        ),
        (UpdateQuery, "add_update_fields"),
        (Query, "add_q"),
        (QuerySet, "_filter_or_exclude"),
        (WhereNode, "as_sql"),
        (Exact, "as_sql"),
        (Col, "as_sql"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_method_patched_deeper_is_called_warm_and_cold(owner, name, warm, monkeypatch):
    instance = known(models.LockedKinds)
    if not warm:
        vars(connections["default"]).pop("_optilock_known", None)
    calls = spy(monkeypatch, owner, name)
    instance.save()
    assert calls


@pytest.mark.django_db
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(
    "name", ["get_db_prep_save", "get_db_prep_value", "get_prep_value"]
)
@pytest.mark.parametrize("kind", [Field, CharField])
def test_patched_preparation_of_a_text_is_called(kind, name, warm, monkeypatch):
    instance = known(models.LockedKinds)
    if not warm:
        models.LockedKinds._meta.get_field("version").lock.plain_fields.clear()
    original = getattr(kind, name)

    @wraps(original)
    def patched(self, value, *args, **kwargs):
        value = value.lower() if type(value) is str else value
        return original(self, value, *args, **kwargs)

    monkeypatch.setattr(kind, name, patched)
    instance.text = "TEXT"
    instance.save()
    assert models.LockedKinds.objects.values_list("text").get() == ("text",)


@pytest.mark.django_db
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(
    ("kind", "name", "value", "written"),
    [
        (DecimalField, "get_prep_value", Decimal("1.50"), Decimal("2.50")),
        (DecimalField, "get_db_prep_value", Decimal("1.50"), Decimal("2.50")),
        (DateField, "get_prep_value", DAY, DAY + ONE_DAY),
        (DateTimeField, "get_db_prep_value", MOMENT, MOMENT + ONE_DAY),
        (DateTimeField, "get_prep_value", MOMENT, MOMENT + ONE_DAY),
        # Which the one before calls.
        (DateField, "get_prep_value", MOMENT, MOMENT + ONE_DAY),
    ],
    ids=lambda part: getattr(part, "__name__", None),
)
def test_patched_preparation_of_a_ready_value_is_called(
    kind, name, value, written, warm, monkeypatch
):
    instance = known(models.LockedKinds)
    if not warm:
        models.LockedKinds._meta.get_field("version").lock.plain_fields.clear()
    original, more = getattr(kind, name), written - value

    @wraps(original)
    def patched(self, found, *args, **kwargs):
        is_mine = type(found) is type(value) and found == value
        return original(self, found + more if is_mine else found, *args, **kwargs)

    monkeypatch.setattr(kind, name, patched)
    column = {Decimal: "price", datetime.date: "day", datetime.datetime: "moment"}
    field = column[type(value)]
    setattr(instance, field, value)
    instance.save()
    assert models.LockedKinds.objects.values_list(field).get() == (written,)


@pytest.mark.django_db
@pytest.mark.parametrize("price", ["NaN", "Infinity"])
def test_a_number_that_django_refuses_is_refused(price):
    instance = known(models.LockedKinds)
    instance.price = Decimal(price)
    with pytest.raises(ValidationError), transaction.atomic():
        instance.save()
    assert models.LockedKinds.objects.get().price is None


@pytest.mark.django_db
def test_a_moment_without_a_time_zone_is_told_as_in_django():
    instance = known(models.LockedKinds)
    instance.moment = datetime.datetime(2024, 2, 29, 12, 0)
    with pytest.warns(RuntimeWarning, match="naive datetime"):
        instance.save()


@pytest.mark.django_db
@pytest.mark.parametrize("on", ["its class", "the field", "every field"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_patched_pre_save_is_called(on, warm, monkeypatch):
    instance = known(models.LockedKinds, text="before")
    field = models.LockedKinds._meta.get_field("text")
    if not warm:
        lock = models.LockedKinds._meta.get_field("version").lock
        monkeypatch.setattr(lock, "plain_fields", {})
    original = Field.pre_save

    def patched(self, instance, add):
        return "patched" if self is field else original(self, instance, add)

    owner = {"its class": type(field), "the field": field, "every field": Field}[on]
    new = MethodType(patched, field) if owner is field else patched
    monkeypatch.setattr(owner, "pre_save", new, raising=False)
    instance.save()
    assert models.LockedKinds.objects.get().text == "patched"


class TenantCompiler(SQLUpdateCompiler):
    """Adds the tenant's condition, as some packages' backends do."""

    def pre_sql_setup(self):
        if self.query.model is models.LockedKinds:
            self.query.add_filter("text", "mine")
        return super().pre_sql_setup()


@pytest.fixture
def tenants(monkeypatch):
    """The backend has its own compiler, from now on."""

    def switch_on():
        ops = connections["default"].ops
        original = type(ops).compiler

        def compiler(self, name):
            found = original(self, name)
            return TenantCompiler if name == "SQLUpdateCompiler" else found

        monkeypatch.setattr(type(ops), "compiler", compiler)

    return switch_on


@pytest.mark.django_db
def test_backend_s_own_compiler_is_used_warm_and_cold(tenants):
    theirs = known(models.LockedKinds, text="theirs")
    theirs.save()
    tenants()
    theirs.number = 5
    for _ in range(2):
        with pytest.raises(RecordModifiedError):
            theirs.save(update_fields=["number"])
        with pytest.raises(RecordModifiedError):
            theirs.save()
    assert models.LockedKinds.objects.get().number == 0


@pytest.mark.django_db
def test_compiler_of_one_connection_is_used(monkeypatch):
    instance = known(models.LockedKinds, text="theirs")
    ops = connections["default"].ops
    original = ops.compiler

    def compiler(name):
        return TenantCompiler if name == "SQLUpdateCompiler" else original(name)

    monkeypatch.setattr(ops, "compiler", compiler)
    with pytest.raises(RecordModifiedError):
        instance.save()


@pytest.mark.django_db
def test_method_patched_for_one_save_is_forgotten_after_it(monkeypatch):
    instance = known(models.LockedKinds)
    with monkeypatch.context() as patch:
        original = SQLUpdateCompiler.pre_sql_setup
        patch.setattr(SQLUpdateCompiler, "pre_sql_setup", lambda self: original(self))
        assert not fast_update.sends_as_usual(connections["default"])
        instance.save()
    assert fast_update.sends_as_usual(connections["default"])


class NarrowQuerySet(QuerySet):
    def filter(self, *args, **kwargs):
        return super().filter(*args, **kwargs, text="mine")

    def using(self, alias):
        return super().using(alias).filter()


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["its queryset", "its get_queryset", "its using"])
def test_base_manager_with_a_queryset_of_its_own_is_asked(how, monkeypatch):
    """The manager is of Django's class, but what it returns isn't."""
    instance = known(models.LockedKinds, text="theirs")
    manager = models.LockedKinds._base_manager
    if how == "its queryset":
        monkeypatch.setattr(manager, "_queryset_class", NarrowQuerySet, raising=False)
    elif how == "its get_queryset":
        monkeypatch.setattr(
            manager,
            "get_queryset",
            lambda: QuerySet(models.LockedKinds).filter(text="mine"),
        )
    else:
        monkeypatch.setattr(
            manager,
            "using",
            lambda alias: QuerySet(models.LockedKinds, using=alias).filter(text="mine"),
        )
    with pytest.raises(RecordModifiedError):
        instance.save()


# --- rows of several tables ---------------------------------------------------


@pytest.mark.django_db
def test_each_table_of_a_child_is_written_as_django_writes_it(monkeypatch):
    instance = known(models.LockedChild)
    short = sql_of(instance.save)
    monkeypatch.setattr(fast_update, "IS_KNOWN", False)
    djangos = sql_of(instance.save)

    def plain(statements):
        return [sql for sql in statements if sql.startswith("UPDATE")]

    [_, ours], [_, theirs] = plain(short), plain(djangos)  # the other has a version
    assert ours == theirs


@pytest.mark.django_db
def test_a_childs_row_that_is_missing_is_inserted_as_in_django():
    instance = known(models.LockedChild, name="a", stars=1)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM testapp_lockedchild")
    instance.stars = 5
    instance.save()
    assert models.LockedChild.objects.get().stars == 5
    assert instance.version == models.LockedBase.objects.get().version == 3


@pytest.mark.django_db
def test_a_childs_expression_is_compiled():
    instance = known(models.LockedChild, stars=1)
    instance.stars = F("stars") + 1
    instance.save()
    assert models.LockedChild.objects.get().stars == 2


@pytest.mark.django_db
def test_nothing_of_a_child_is_written_if_its_parent_is_stale():
    instance = known(models.LockedChild, stars=1)
    models.LockedChild.objects.get().save()
    instance.stars = 5
    with pytest.raises(RecordModifiedError):
        instance.save()
    assert models.LockedChild.objects.get().stars == 1


@pytest.mark.django_db
def test_the_second_save_of_a_child_compiles_nothing(monkeypatch):
    instance = known(models.LockedChild)

    def compiled(*args, **kwargs):
        raise AssertionError("compiled")

    monkeypatch.setattr(plain_sql, "compiler_of", compiled)
    monkeypatch.setattr(fast_update, "compiler_of", compiled)
    assert len([sql for sql in sql_of(instance.save) if sql.startswith("UPDATE")]) == 2
    assert len(sql_of(lambda: instance.save(update_fields=["name"]))) <= 3


# --- the version that a refusal tells -----------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("is_known", [True, False])
def test_a_refusal_reads_the_version_by_one_select(monkeypatch, is_known):
    instance = known(models.LockedKinds)
    models.LockedKinds.objects.get().save()
    monkeypatch.setattr(fast_update, "IS_KNOWN", is_known)

    def refused():
        with pytest.raises(RecordModifiedError) as caught:
            instance.save()
        assert caught.value.current_version == 3

    verbs = [sql.split()[0] for sql in sql_of(refused)]
    assert verbs == ["UPDATE", "SELECT"]
