"""What is posted is one transaction, which is done again when it loses a conflict."""

from __future__ import annotations

import logging
from threading import Event

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections, transaction
from django.db.models import F
from django.test import RequestFactory
from django.urls import path, reverse
from factories import LineFactory, MemoFactory, OrderFactory, UserFactory
from levels import LEVELS, VENDOR, connected
from pages import Page
from testapp.admin import OrderAdmin
from testapp.models import Line, Memo, Order
from testapp.views import MemoDelete, MemoUpdate
from threads import SomebodyElse, elsewhere

from optilock import RecordModifiedError, retry_on_conflict
from optilock.once_more import once_more
from optilock.signals import retried
from optilock.testing import no_waiting

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

needs_two_writers = pytest.mark.skipif(
    VENDOR == "sqlite3",
    reason="SQLite has one writer at a time: nobody can commit in between",
)


@pytest.fixture(params=LEVELS)
def level(request):
    locks = VENDOR == "mysql" and request.param == "SERIALIZABLE"
    if locks and "deadlock" not in request.node.name:
        pytest.skip("whoever reads locks there: nobody can write in between")
    with connected(LEVELS[request.param]):
        yield request.param


@pytest.fixture
def add_action(monkeypatch):
    def add(action, name="act"):
        monkeypatch.setattr(OrderAdmin, name, action, raising=False)
        monkeypatch.setattr(OrderAdmin, "actions", [*OrderAdmin.actions, name])

    return add


@pytest.fixture
def orders():
    return [OrderFactory(number=n, amount=10) for n in "123"]


def once(write):
    """Return a function that writes from another connection when first called."""
    writes = [write]

    def call():
        if writes:
            elsewhere(writes.pop())

    return call


def run(action, orders, page=None):
    page = page or Page.list(UserFactory(), Order)
    selected = [order.pk for order in orders]
    return page.post(action=action, index="0", _selected_action=selected)


def amounts():
    return list(Order.objects.order_by("number").values_list("amount", flat=True))


# --- actions -------------------------------------------------------------


@needs_two_writers
def test_an_action_that_loses_its_last_row_adds_to_each_row_once(
    orders, level, atomic_requests, add_action
):
    rival = once(lambda: Order.objects.filter(number="3").update(amount=100))

    def add_ten(self, request, queryset):
        for order in list(queryset.order_by("number")):
            order.amount += 10
            if order.number == "3":
                rival()
            order.save()
            self.log_change(request, order, "Ten more.")
        self.message_user(request, "Done.")

    add_action(add_ten)
    page = run("act", orders)
    assert page.redirects
    assert amounts() == [20, 20, 110]
    assert page.messages == ["Done."]
    assert LogEntry.objects.count() == 3


def delete_children_twice(self, request, queryset):
    for order in queryset:
        order.note = "half"
        order.save()
        lines = list(order.lines.all())
        order.delete()
        for line in lines:
            line.delete()


def test_an_action_that_meets_what_it_has_deleted_is_no_error_and_does_nothing(
    orders, atomic_requests, add_action
):
    LineFactory(order=orders[0])
    add_action(delete_children_twice)
    page = run("act", orders)
    assert page.response.status_code == 409
    assert "Nothing was saved." in page.text
    assert "no-store" in page.response["Cache-Control"]
    assert Order.objects.filter(note="").count() == 3
    assert Line.objects.count() == 1
    assert page.messages == []


def test_who_loses_each_time_is_told_and_the_log_says_what_was_lost(
    orders, atomic_requests, add_action, caplog
):
    runs = []

    def always_lose(self, request, queryset):
        runs.append(1)
        first, stale = queryset[0], queryset[0]
        first.save()
        stale.save()

    add_action(always_lose)
    with caplog.at_level(logging.WARNING, "optilock.once_more"), no_waiting():
        page = run("act", orders[:1])
    assert page.response.status_code == 409
    assert len(runs) > 2
    assert Order.objects.get(number="1").version == 1
    [record] = [r for r in caplog.records if r.name == "optilock.once_more"]
    assert issubclass(record.exc_info[0], RecordModifiedError)


@pytest.mark.parametrize("is_function", [False, True])
def test_an_action_marked_as_non_atomic_sees_to_its_transactions_itself(
    orders, atomic_requests, monkeypatch, is_function
):
    runs = []

    @transaction.non_atomic_requests
    def act(self, request, queryset):
        runs.append(connection.in_atomic_block)
        with transaction.atomic(durable=True):
            queryset.filter(number="1").update(amount=5)
        first, stale = queryset[0], queryset[0]
        first.save()
        stale.save()

    monkeypatch.setattr(OrderAdmin, "act", act, raising=False)
    monkeypatch.setattr(OrderAdmin, "actions", [act if is_function else "act"])
    page = run("act", orders)
    assert page.response.status_code == 409
    assert "What was saved before that stays" in page.text
    assert runs == [False]
    assert amounts() == [5, 10, 10]


def test_a_decorated_action_tries_again_itself(orders, atomic_requests, add_action):
    runs = []

    @retry_on_conflict
    def act(self, request, queryset):
        runs.append(1)
        order = queryset.get(number="1")
        order.amount += 10
        order.save()
        if len(runs) < 7:
            stale = queryset.get(number="1")
            order.save()
            stale.save()

    add_action(act)
    with no_waiting():
        assert run("act", orders).redirects
    assert amounts() == [20, 10, 10]
    assert len(runs) == 7


def test_a_non_atomic_action_that_asks_first_has_a_transaction(
    orders, atomic_requests, monkeypatch
):
    seen = []

    @transaction.non_atomic_requests
    def mark_paid(self, request, queryset):
        seen.append(connection.in_atomic_block)

    monkeypatch.setattr(OrderAdmin, "mark_paid", mark_paid)
    assert run("mark_paid", orders).redirects
    assert seen == [True]


def test_another_error_of_an_action_is_raised_and_takes_everything_back(
    orders, atomic_requests, add_action
):
    def act(self, request, queryset):
        queryset.update(amount=5)
        raise LookupError

    add_action(act)
    with pytest.raises(LookupError):
        run("act", orders)
    assert amounts() == [10, 10, 10]


def test_what_fails_after_the_commit_is_not_done_again(
    orders, atomic_requests, add_action
):
    def fail():
        stale = Order.objects.get(number="1")
        Order.objects.get(number="1").save()
        stale.save()

    def act(self, request, queryset):
        queryset.update(amount=F("amount") + 10)
        transaction.on_commit(fail)

    add_action(act)
    with pytest.raises(RecordModifiedError):
        run("act", orders)
    assert amounts() == [20, 20, 20]


# --- forms ---------------------------------------------------------------


def racing(monkeypatch, cls, method, write):
    """Let another connection write after a method was called, once."""
    rival, original = once(write), getattr(cls, method)

    def late(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        rival()
        return result

    monkeypatch.setattr(cls, method, late)


@needs_two_writers
def test_a_change_form_wins_at_each_isolation_level(
    orders, level, atomic_requests, monkeypatch
):
    page = Page.change(UserFactory(), orders[0])
    rows = Order.objects.filter(pk=orders[0].pk)
    racing(monkeypatch, OrderAdmin, "get_object", lambda: rows.update(note="theirs"))
    assert page.save(status="paid").redirects
    order = rows.get()
    assert (order.note, order.status, order.version) == ("theirs", "paid", 3)
    assert LogEntry.objects.count() == 1


@needs_two_writers
def test_a_change_form_asks_at_each_isolation_level(
    orders, level, atomic_requests, monkeypatch
):
    page = Page.change(UserFactory(), orders[0])
    rows = Order.objects.filter(pk=orders[0].pk)
    racing(monkeypatch, OrderAdmin, "get_object", lambda: rows.update(note="theirs"))
    asked = page.save(note="mine")
    assert asked.panel
    assert asked.data["note"] == "mine"
    assert asked.save(optilock_decision_note="mine").redirects
    assert rows.get().note == "mine"


@needs_two_writers
def test_a_delete_asks_at_each_isolation_level(
    orders, level, atomic_requests, monkeypatch
):
    page = Page.delete(UserFactory(), orders[0])
    rows = Order.objects.filter(pk=orders[0].pk)
    racing(
        monkeypatch,
        OrderAdmin,
        "has_delete_permission",
        lambda: rows.update(note="theirs"),
    )
    refused = page.post(post="yes")
    assert refused.redirects
    assert "Nothing was deleted." in refused.messages[0]
    assert rows.exists()


@needs_two_writers
def test_a_list_wins_at_each_isolation_level(
    orders, level, atomic_requests, monkeypatch
):
    page = Page.list(UserFactory(), Order)
    rows = Order.objects.filter(pk=orders[0].pk)
    racing(
        monkeypatch,
        OrderAdmin,
        "get_changelist_instance",
        lambda: rows.update(note="theirs"),
    )
    assert page.save(**{"form-2-amount": "20"}).redirects
    assert rows.values_list("note", "amount").get() == ("theirs", 20)


@needs_two_writers
@pytest.mark.parametrize("name", ["memo", "delete"])
def test_a_view_wins_or_asks_at_each_isolation_level(
    name, level, atomic_requests, monkeypatch
):
    memo = MemoFactory(subject="old")
    view = MemoUpdate if name == "memo" else MemoDelete
    page = Page.get(UserFactory(), reverse(name, args=[memo.pk]))
    rows = Memo.objects.filter(pk=memo.pk)
    racing(
        monkeypatch, view, "get_object", lambda: rows.update(body="theirs", version=2)
    )
    answer = page.post(subject="mine")
    if name == "memo":
        assert answer.redirects
        assert rows.values_list("subject", "body").get() == ("mine", "theirs")
    else:
        assert "Nothing was deleted." in answer.text
        assert rows.exists()


@needs_two_writers
def test_a_deadlock_is_done_again(orders, level, atomic_requests, add_action):
    """One writes 1 and 3, the other 3 and 1; both wait for the other once."""
    mine, theirs = Event(), Event()

    def write(first, second, done, other):
        Order.objects.filter(number=first).update(amount=F("amount") + 10)
        done.set()
        other.wait(5)
        Order.objects.filter(number=second).update(amount=F("amount") + 10)

    def act(self, request, queryset):
        write("1", "3", mine, theirs)

    def rival():
        with connected(LEVELS[level]), no_waiting():
            retry_on_conflict(write)("3", "1", theirs, mine)

    add_action(act)
    page = Page.list(UserFactory(), Order)
    thread = SomebodyElse(rival)
    thread.start()
    answer = run("act", orders, page)
    thread.join()
    assert answer.redirects
    assert amounts() == [30, 10, 30]


def test_a_locked_database_is_waited_for(orders, atomic_requests, monkeypatch):
    if VENDOR != "sqlite3":
        pytest.skip("only SQLite locks the whole database")
    options = {"transaction_mode": "IMMEDIATE", "timeout": 0.05}
    locked, tried = Event(), Event()

    def rival():
        with connected(options), transaction.atomic():
            Order.objects.filter(number="1").update(note="theirs")
            locked.set()
            tried.wait(5)

    page = Page.change(UserFactory(), orders[0])
    thread = SomebodyElse(rival)
    thread.start()
    assert locked.wait(5)

    def note(**kwargs):
        tried.set()
        thread.join()

    retried.connect(note)
    try:
        with connected(options):
            assert page.save(status="paid").redirects
    finally:
        retried.disconnect(note)
        tried.set()
        thread.join()
    order = Order.objects.get(number="1")
    assert (order.note, order.status) == ("theirs", "paid")


# --- what a run leaves behind --------------------------------------------


def lose_once(monkeypatch, name="save_model"):
    """Let a save lose a conflict after it was written, the first time."""
    original, lost = getattr(OrderAdmin, name), []

    def lose(self, request, obj, form, change):
        original(self, request, obj, form, change)
        if not lost:
            lost.append(1)
            stale = Order.objects.get(pk=obj.pk)
            obj.save()
            stale.save()

    monkeypatch.setattr(OrderAdmin, name, lose)


def test_what_was_uploaded_is_uploaded_by_the_second_run(
    orders, atomic_requests, monkeypatch, settings, tmp_path
):
    settings.MEDIA_ROOT = tmp_path
    for number, handler in enumerate(["Memory", "Temporary"]):
        settings.FILE_UPLOAD_HANDLERS = [
            f"django.core.files.uploadhandler.{handler}FileUploadHandler"
        ]
        with monkeypatch.context() as patch:
            lose_once(patch)
            page = Page.change(UserFactory(), orders[number])
            upload = SimpleUploadedFile("a.txt", b"content" * 100)
            assert page.save(attachment=upload).redirects
        orders[number].refresh_from_db()
        with orders[number].attachment.open() as stored:
            assert stored.read() == b"content" * 100


def test_the_second_run_begins_as_the_first(orders, atomic_requests, monkeypatch):
    lose_once(monkeypatch)
    original, seen = OrderAdmin.save_model, []

    def save_model(self, request, obj, form, change):
        seen.append((request.POST.get("note"), sorted(request.FILES)))
        request.POST = request.POST.copy()
        request.POST["note"] = "spoiled"
        request.FILES.clear()
        self.message_user(request, "saving")
        original(self, request, obj, form, change)

    monkeypatch.setattr(OrderAdmin, "save_model", save_model)
    page = Page.change(UserFactory(), orders[0])
    saved = page.save(note="mine", attachment=SimpleUploadedFile("a.txt", b"a"))
    assert saved.redirects
    assert seen == [("mine", ["attachment"])] * 2
    assert saved.messages.count("saving") == 1
    assert LogEntry.objects.count() == 1


def test_an_addition_that_loses_adds_one_row(atomic_requests, monkeypatch):
    lose_once(monkeypatch)
    page = Page.get(UserFactory(), reverse("admin:testapp_order_add"))
    assert page.save(number="new").redirects
    assert Order.objects.get().version == 1


# --- inside somebody else's transaction ----------------------------------


def test_in_another_transaction_what_was_refused_is_done_again(orders, monkeypatch):
    lose_once(monkeypatch)
    page = Page.change(UserFactory(), orders[0])
    with transaction.atomic():
        Order.objects.filter(number="2").update(note="outer")
        assert page.save(note="mine").redirects
    assert list(Order.objects.order_by("number").values_list("note", "version")) == [
        ("mine", 2),
        ("outer", 2),
        ("", 1),
    ]


@needs_two_writers
def test_in_another_transaction_what_the_database_ended_is_told(orders, level):
    if level not in ("REPEATABLE_READ", "SERIALIZABLE", "SNAPSHOT") or (
        VENDOR == "mysql" and level != "SNAPSHOT"
    ):
        pytest.skip("ends no transaction for what was changed meanwhile")
    page = Page.change(UserFactory(), orders[0])
    rows = Order.objects.filter(pk=orders[0].pk)
    with transaction.atomic():
        assert rows.get().note == ""  # takes the snapshot
        elsewhere(lambda: rows.update(note="theirs"))
        told = page.save(note="mine")
        assert told.response.status_code == 409
    assert rows.get().note == "theirs"


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_view_has_a_transaction_in_each_database_it_writes_to():
    order = OrderFactory(amount=1)
    request = RequestFactory().post("/")
    runs = []

    def view():
        runs.append([connections[a].in_atomic_block for a in ("default", "other")])
        stale = Order.objects.get(pk=order.pk)
        Order.objects.filter(pk=order.pk).update(amount=F("amount") + 1)
        if len(runs) == 1:
            stale.save()
        return "done"

    assert once_more(request, view, models=[Order], using=["other"]) == "done"
    assert runs == [[True, True]] * 2
    order.refresh_from_db()
    assert order.amount == 2


@pytest.mark.parametrize("method", ["get", "put"])
def test_only_a_post_is_repeated(method):
    order = OrderFactory()
    request = getattr(RequestFactory(), method)("/")
    runs = []

    def view():
        runs.append(connection.in_atomic_block)
        stale = Order.objects.get(pk=order.pk)
        Order.objects.get(pk=order.pk).save()
        stale.save()

    with pytest.raises(RecordModifiedError):
        once_more(request, view, models=[Order])
    assert runs == [method == "put"]


# --- ATOMIC_REQUESTS -----------------------------------------------------


def test_what_an_override_writes_before_the_view_is_taken_back(
    orders, monkeypatch, settings
):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    runs = []

    class Overriding(OrderAdmin):
        def change_view(self, request, *args, **kwargs):
            if request.method == "POST":
                runs.append(1)
                Order.objects.filter(number="3").update(amount=F("amount") + 1)
            return super().change_view(request, *args, **kwargs)

    site = AdminSite()
    site.register(Order, Overriding)
    settings.ROOT_URLCONF = type(
        "Urls", (), {"urlpatterns": [path("admin/", site.urls)]}
    )
    lose_once(monkeypatch)
    page = Page.change(UserFactory(), orders[0])
    assert page.save(note="mine").redirects
    assert len(runs) == 2
    assert amounts() == [10, 10, 11]


def test_a_page_that_is_only_looked_at_is_in_the_transaction_django_promises(
    orders, atomic_requests, monkeypatch
):
    seen = []
    original = OrderAdmin.get_object

    def get_object(self, *args, **kwargs):
        seen.append(connection.in_atomic_block)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(OrderAdmin, "get_object", get_object)
    Page.change(UserFactory(), orders[0])
    assert seen == [atomic_requests]


@pytest.mark.parametrize("is_read", [True, False])
def test_what_a_lost_run_put_into_the_session_is_not_put_there_twice(is_read):
    request = RequestFactory().post("/")
    request.session = SessionStore()
    if is_read:
        request.session["basket"] = [1]
    order = OrderFactory()
    mine = Order.objects.get()
    order.save()
    lost = [mine]

    def view():
        request.session.setdefault("basket", []).append(2)
        if lost:
            lost.pop().save()
        return request.session["basket"]

    assert once_more(request, view, models=[Order]) == [1] * is_read + [2]
