"""Plain views: what a client is answered, and what the database has afterwards."""

from __future__ import annotations

import json

import pytest
from clients import ASYNC, JSON, SYNC, row, send, theirs
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection, connections, transaction
from django.forms import model_to_dict
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from factories import AccountFactory
from testapp.models import (
    Account,
    Bistro,
    CompositeKey,
    ConcurrentModel,
    Place,
    Unlocked,
)

from optilock import RecordModifiedError
from optilock.http import (
    ETag,
    PreconditionFailed,
    PreconditionRequired,
    Preconditions,
    Refusal,
    check_preconditions,
    conditional_view,
    etag_of,
    not_modified,
    refusal_of,
)
from optilock.http.middleware import ConflictMiddleware
from optilock.signals import precondition_failed

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("testapp.http"),
    pytest.mark.usefixtures("middleware", "english"),
]


# --- the table -----------------------------------------------------------


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
def test_a_row_is_changed_with_the_tag_it_came_with(name, account):
    got = send(name, "GET", account.pk)
    assert got["ETag"] == '"1"'
    changed = send(name, "PATCH", account.pk, {"owner": "mine"}, If_Match=got["ETag"])
    assert changed.status_code == 200
    assert changed["ETag"] == '"2"'
    assert row(account) == ("mine", 100, 2)


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_stale_tag_is_refused_with_the_row_as_it_is(name, method, account):
    theirs(account)()
    refused = send(name, method, account.pk, {"owner": "mine"}, If_Match='"1"')
    assert refused.status_code == 412
    assert refused["Content-Type"] == JSON
    assert refused["Cache-Control"] == "no-store"
    assert refused["ETag"] == '"2"'
    assert "Accept" in refused["Vary"]
    problem = json.loads(refused.content)
    assert problem.pop("detail")
    assert problem == {
        "type": "urn:optilock:problem:stale",
        "title": "The precondition is false",
        "status": 412,
        "current_version": 2,
        "current": {"owner": "theirs", "balance": 100},
    }
    assert row(account) == ("theirs", 100, 2)
    assert not Unlocked.objects.exists()


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_request_without_a_tag_is_told_to_send_one(name, method, account):
    refused = send(name, method, account.pk, {"owner": "mine"})
    assert refused.status_code == 428
    assert refused.json()["type"].endswith(":precondition-required")
    assert refused["Cache-Control"] == "no-store"
    assert row(account) == ("first", 100, 1)


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
@pytest.mark.parametrize("header", ["1", "'1'", 'w/"1"', "", '*, "1"', '"1" x'])
def test_a_header_that_cannot_be_read_is_refused(name, header, account):
    refused = send(name, "PATCH", account.pk, {"owner": "mine"}, If_Match=header)
    assert refused.status_code == 400
    assert refused.json()["type"].endswith(":malformed-precondition")
    assert row(account) == ("first", 100, 1)


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_row_that_is_not_there_is_404_whatever_if_match_says(name, method):
    assert send(name, method, 99, {}, If_Match='"1"').status_code == 404


@pytest.mark.parametrize(
    ("header", "status", "slug"),
    [
        ('"1"', 200, None),
        ('"0", "1"', 200, None),
        ("*", 200, None),
        ('"1.de"', 200, None),
        ('"1-gzip"', 200, None),
        ('"1;br"', 200, None),
        ('W/"1"', 200, None),
        ('"0"', 412, "stale"),
        ('"a1b2"', 412, "foreign-etag"),
        ('"5d41402abc4b2a76b9719d911017c592"', 412, "foreign-etag"),
        ('"list.1"', 412, "foreign-etag"),
        ('"a1b2", "0"', 412, "stale"),
    ],
)
def test_what_is_compared_is_the_version_in_the_tag(header, status, slug, account):
    answer = send("decorated", "PATCH", account.pk, {"balance": 1}, If_Match=header)
    assert answer.status_code == status
    if slug:
        assert answer.json()["type"].endswith(f":{slug}")
        assert answer.json()["current_version"] == 1
    assert row(account)[1] == (1 if status == 200 else 100)


def test_another_rows_tag_is_a_version_like_any_other(account):
    # The number is all there is: a tag says nothing of which row it is from.
    other = AccountFactory()
    other.save()
    tag = str(etag_of(other))
    assert send("decorated", "PATCH", account.pk, {}, If_Match=tag).status_code == 412


def test_a_date_is_no_precondition(account):
    date = "Thu, 26 Nov 2099 00:00:00 GMT"
    answer = send("decorated", "PATCH", account.pk, {}, If_Unmodified_Since=date)
    assert answer.status_code == 428


def test_a_request_without_a_header_is_done_where_none_is_required(account):
    assert send("optional", "PATCH", account.pk, {"balance": 1}).status_code == 200


def test_weak_tags_can_be_refused(account):
    request = RequestFactory().patch("/", headers={"If-Match": 'W/"1"'})
    with pytest.raises(PreconditionFailed) as caught:
        check_preconditions(request, account, accept_weak=False)
    assert caught.value.slug == "weak-etag"
    request = RequestFactory().patch("/", headers={"If-Match": 'W/"1", "1"'})
    check_preconditions(request, account, accept_weak=False)


def test_options_has_nothing_to_do_with_the_row(account):
    request = RequestFactory().options("/", headers={"If-Match": "7"})
    check_preconditions(request, account, required=True)
    Preconditions.of(request).check_tag(ETag("x"))


# --- reading -------------------------------------------------------------


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("header", ['"1"', 'W/"1"', '"0", "1"', "*"])
def test_what_the_client_has_is_not_sent_again(name, method, header, account):
    if method == "HEAD":
        request = RequestFactory().head("/", headers={"If-None-Match": header})
        answer = not_modified(request, etag_of(account))
    else:
        answer = send(name, "GET", account.pk, If_None_Match=header)
    assert answer.status_code == 304
    assert answer["ETag"] == '"1"'
    assert not answer.content


@pytest.mark.parametrize("header", ['"0"', '"1.de"', '"a1b2"'])
def test_what_the_client_does_not_have_is_sent(header, account):
    answer = send("decorated", "GET", account.pk, If_None_Match=header)
    assert answer.status_code == 200


def test_a_variant_is_never_taken_for_another(account):
    tag = etag_of(account, "de")
    for header, fresh in [(tag, True), (etag_of(account, "en"), False), ('"1"', False)]:
        request = RequestFactory().get("/", headers={"If-None-Match": str(header)})
        assert bool(not_modified(request, tag)) is fresh


def test_a_get_with_a_false_if_match_is_refused(account):
    answer = send("decorated", "GET", account.pk, If_Match='"0"')
    assert answer.status_code == 412
    assert answer["ETag"] == '"1"'
    assert send("decorated", "GET", account.pk, If_Match='"1"').status_code == 200


def test_not_modified_is_only_for_reading(account):
    request = RequestFactory().patch("/", headers={"If-None-Match": "*"})
    assert not_modified(request, etag_of(account)) is None


# --- creating ------------------------------------------------------------


def test_if_none_match_creates_once(atomic_requests):
    first = send("decorated", "PUT", 5, {"owner": "mine"}, If_None_Match="*")
    assert (first.status_code, first["ETag"]) == (201, '"1"')
    again = send("decorated", "PUT", 5, {"owner": "again"}, If_None_Match="*")
    assert again.status_code == 412
    assert again.json()["type"].endswith(":exists")
    assert again["ETag"] == '"1"'
    assert again.json()["current"] == {"owner": "mine", "balance": 0}
    assert Account.objects.get().owner == "mine"


def test_if_match_creates_nothing():
    answer = send("decorated", "PUT", 5, {"owner": "mine"}, If_Match='"1"')
    assert answer.status_code == 412
    assert answer.json()["type"].endswith(":missing")
    assert not Account.objects.exists()
    request = RequestFactory().put("/", headers={"If-Match": "*"})
    with pytest.raises(PreconditionFailed):
        check_preconditions(request, None)
    check_preconditions(RequestFactory().put("/"), None, required=True)


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        ({}, None),
        ({"If-Match": "*"}, None),
        ({"If-Match": '"list.1"'}, None),
        ({"If-Match": 'W/"list.1"'}, "stale"),
        ({"If-Match": '"1"'}, "stale"),
        ({"If-None-Match": '"other"'}, None),
        ({"If-None-Match": '"list.1"'}, "exists"),
        ({"If-None-Match": "*"}, "exists"),
    ],
)
def test_a_request_to_a_collection_is_about_the_collection(headers, slug):
    preconditions = Preconditions.of(RequestFactory().post("/", headers=headers))
    if slug is None:
        preconditions.check_tag(ETag("list.1"))
    else:
        with pytest.raises(PreconditionFailed) as caught:
            preconditions.check_tag(ETag("list.1"))
        assert caught.value.slug == slug


def test_a_collection_without_a_tag_matches_none():
    for headers in [{"If-Match": '"1"'}, {"If-None-Match": "*"}]:
        request = RequestFactory().post("/", headers=headers)
        with pytest.raises(PreconditionFailed):
            Preconditions.of(request).check_tag(None)


def test_if_none_match_rules_out_what_the_row_is(account):
    for header in ["*", '"1"', '"1.de"']:
        answer = send("optional", "PATCH", account.pk, {}, If_None_Match=header)
        assert answer.status_code == 412
    answer = send("optional", "PATCH", account.pk, {}, If_None_Match='"0"')
    assert answer.status_code == 200


def test_if_match_is_looked_at_before_if_none_match(account):
    headers = {"If_Match": '"0"', "If_None_Match": "*"}
    answer = send("decorated", "PATCH", account.pk, {}, **headers)
    assert answer.json()["type"].endswith(":stale")
    headers["If_Match"] = '"1"'
    answer = send("decorated", "PATCH", account.pk, {}, **headers)
    assert answer.json()["type"].endswith(":exists")


# --- what stays and what doesn't -----------------------------------------


def test_a_refresh_does_not_exchange_the_version_in_if_match(account):
    answer = send("refreshing", "PATCH", account.pk, If_Match='"1"')
    assert answer.status_code == 412
    assert Account.objects.get().balance == 100
    assert send("refreshing", "PATCH", account.pk).status_code == 200


@pytest.mark.parametrize("model", [Account, ConcurrentModel, Place, Bistro])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fields": ["version"]},
        {"from_queryset": True},
        {"fields": ["version"], "from_queryset": True},
    ],
    ids=["all", "fields", "queryset", "fields of a queryset"],
)
def test_a_refused_refresh_leaves_the_instance_as_it_was(model, options):
    instance = model.objects.get(pk=model.objects.create().pk)
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, instance)
    newer = model.objects.get(pk=instance.pk)
    newer.save()
    if "from_queryset" in options:
        options = options | {"from_queryset": model.objects.all()}
    names = [field.name for field in model._meta.concrete_fields]
    before = model_to_dict(instance, names) | {"version": 1}
    with transaction.atomic():
        for _ in range(2):  # also for somebody who swallows the error
            with pytest.raises(RecordModifiedError) as caught:
                instance.refresh_from_db(**options)
            assert caught.value.expected_version == 1
            assert caught.value.current_version == 2
        assert model_to_dict(instance, names) | {"version": instance.version} == before
        with pytest.raises(RecordModifiedError):
            instance.save()
    assert model.objects.get().version == 2


def test_a_version_deferred_by_the_queryset_of_a_refresh_is_not_exchanged():
    instance = ConcurrentModel.objects.get(pk=ConcurrentModel.objects.create().pk)
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, instance)
    ConcurrentModel.objects.get().save()
    instance.refresh_from_db(from_queryset=ConcurrentModel.objects.only("name"))
    with pytest.raises(RecordModifiedError):
        instance.save()


def test_what_was_saved_can_be_refreshed(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, account)
    account.refresh_from_db()
    account.save()
    theirs(account)()
    account.refresh_from_db()
    assert account.version == 3


def test_the_number_in_the_header_is_not_given_to_a_stale_copy(account):
    # As a lagging replica has it: version 1, while the client has seen 2.
    stale = Account.objects.get()
    theirs(account)()
    request = RequestFactory().patch("/", headers={"If-Match": '"2"'})
    with pytest.raises(PreconditionFailed):
        check_preconditions(request, stale)


# --- the answer ----------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/problem+json", JSON),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html",
        ),
        ("text/csv", "text/plain"),
    ],
)
def test_the_answer_is_of_a_kind_the_client_accepts(accept, kind, account):
    answer = send("decorated", "PATCH", account.pk, {}, If_Match='"0"', Accept=accept)
    assert answer.status_code == 412
    assert answer["Content-Type"].split(";")[0] == kind
    assert answer["Cache-Control"] == "no-store"
    assert answer["ETag"] == '"1"'


@pytest.mark.parametrize(
    "accept", ["text/html; charset*=nope'en'x", "x/y; q*0*=x''1", "a" * 20_000]
)
def test_an_accept_that_django_cannot_read_is_answered_all_the_same(accept, account):
    answer = send("decorated", "PATCH", account.pk, {}, If_Match='"0"', Accept=accept)
    assert answer.status_code == 412


def test_a_person_is_told_in_their_language(account):
    headers = {"Accept": "text/html", "Accept_Language": "ru"}
    page = send("function", "PATCH", account.pk, {}, If_Match='"0"', **headers)
    assert "кто-то другой" in page.content.decode()
    assert 'lang="ru"' in page.content.decode()


@pytest.mark.parametrize(
    ("status", "slug", "text"),
    [
        (404, "deleted", "This was deleted while you were editing."),
        (503, "busy", "Others are writing this right now."),
        (409, "conflict", "This was changed by somebody else in the meantime."),
        (400, "malformed-precondition", "be done. Nothing was saved."),
    ],
)
def test_a_page_says_what_has_happened(status, slug, text):
    refusal = Refusal(status=status, slug=slug, title="", detail="")
    request = RequestFactory().post("/", headers={"Accept": "text/html"})
    response = refusal.response(request)
    assert response.status_code == status
    assert text in response.content.decode()


def test_a_client_that_may_not_see_the_row_gets_the_number_only(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"0"'})
    with pytest.raises(PreconditionFailed) as caught:
        check_preconditions(request, account, current=lambda row: None)
    problem = refusal_of(caught.value, request).problem()
    assert problem["current_version"] == 1
    assert "current" not in problem


def test_the_tag_of_a_refused_variant_is_a_variants(account):
    theirs(account)()
    account.refresh_from_db()
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    with pytest.raises(PreconditionFailed) as caught:
        check_preconditions(request, account, variant="de")
    assert refusal_of(caught.value, request).tag == etag_of(account, "de")


def test_an_old_snapshot_is_not_shown(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, account, current=lambda row: {"owner": row.owner})
    error = RecordModifiedError(
        instance=account, using="default", expected_version=1, current_version=2
    )
    problem = refusal_of(error, request).problem()  # the row is still at 1
    assert problem["current_version"] == 2
    assert "current" not in problem


def test_nothing_is_read_in_a_transaction_that_is_over(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"0"'})
    with pytest.raises(PreconditionFailed) as caught:
        check_preconditions(request, account, current=lambda row: {})
    with transaction.atomic():
        transaction.set_rollback(True)
        problem = refusal_of(caught.value, request).problem()
    assert "current" not in problem


def test_messages_have_no_values(account):
    theirs(account, owner="a secret")()
    answer = send("decorated", "PATCH", account.pk, {"owner": "mine"}, If_Match='"1"')
    assert "secret" not in answer.json()["detail"]


def _deadlock():
    error = OperationalError("deadlock detected")
    error.__cause__ = type("Cause", (Exception,), {"sqlstate": "40P01"})()
    return error


def test_a_busy_database_is_503_and_no_precondition(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, account)
    refusal = refusal_of(_deadlock(), request)
    assert (refusal.status, refusal.slug) == (503, "busy")
    assert refusal.headers["Retry-After"] == "1"


def test_a_busy_database_is_412_where_the_row_has_changed_indeed(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, account)
    theirs(account)()
    assert refusal_of(_deadlock(), request).status == 412


@pytest.mark.parametrize("other", ['"1"', "*"])
def test_a_busy_database_is_503_where_nothing_is_known_to_have_changed(other, account):
    """Neither of what was deleted, nor of what was created, nor of what any is."""
    deleted, new = AccountFactory(), Account(pk=77)
    request = RequestFactory().patch("/", headers={"If-Match": other})
    check_preconditions(request, account)
    check_preconditions(request, deleted)
    created = RequestFactory().patch("/")
    check_preconditions(created, new)
    Account.objects.filter(pk=deleted.pk).delete()
    for one in (request, created):
        assert refusal_of(_deadlock(), one).slug == "busy"


def test_a_row_that_cannot_be_read_any_more_is_not_shown(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"0"'})
    with pytest.raises(PreconditionFailed) as caught:
        check_preconditions(request, account, current=lambda row: {})

    def fail(*args):
        raise OperationalError("the server is gone")

    with connection.execute_wrapper(fail):
        problem = refusal_of(caught.value, request).problem()
    assert problem["current_version"] == 1
    assert "current" not in problem


def test_a_conflict_over_an_unknown_version_shows_nothing(account):
    request = RequestFactory().patch("/", headers={"If-Match": "*"})
    check_preconditions(request, account, current=lambda row: {})
    error = RecordModifiedError(
        instance=account, using="default", expected_version=1, current_version=None
    )
    refusal = refusal_of(error, request)
    assert (refusal.status, refusal.tag) == (409, None)
    assert not {"current", "current_version"} & refusal.problem().keys()


def test_keys_of_several_columns_are_named_by_all_of_them():
    rows = [CompositeKey.objects.create(tenant=1, number=number) for number in (1, 2)]
    for one in CompositeKey.objects.all():
        one.save()
    with pytest.raises(RecordModifiedError) as caught:
        CompositeKey.objects.bulk_update(rows, ["name"])
    problem = refusal_of(caught.value, RequestFactory().patch("/")).problem()
    assert problem["conflicts"] == [
        {"pk": [1, number], "expected": 1, "current": 2} for number in (1, 2)
    ]


@pytest.mark.parametrize("number", [1, 2])
def test_one_that_is_lost_is_named_if_it_is_one_of_several(number):
    rows = AccountFactory.create_batch(number)
    Account.objects.get(pk=rows[0].pk).save()
    with pytest.raises(RecordModifiedError) as caught:
        Account.objects.bulk_update(rows, ["balance"])
    problem = refusal_of(caught.value, RequestFactory().patch("/")).problem()
    named = [{"pk": rows[0].pk, "expected": 1, "current": 2}]
    assert problem.get("conflicts", []) == (named if number > 1 else [])


@pytest.mark.parametrize("reads_stream", [False, True])
def test_what_was_sent_is_read_once_more_where_that_can_be_done(reads_stream, account):
    seen = []

    @conditional_view
    def view(request):
        if reads_stream:
            seen.append(len(request.read(5)))
        else:
            seen.append(request.FILES["file"].read())
        check_preconditions(request, account)
        if len(seen) == 1:
            raise RecordModifiedError(
                instance=account,
                using="default",
                expected_version=1,
                current_version=2,
            )
        return HttpResponse()

    sent = {"file": SimpleUploadedFile("a.txt", b"text")}
    request = RequestFactory().post("/", sent, headers={"If-Match": '"1", "2"'})
    status = view(request).status_code
    assert (status, seen) == ((409, [5]) if reads_stream else (200, [b"text"] * 2))


@pytest.mark.parametrize("error", [ValueError(), OperationalError("no such table")])
def test_other_errors_are_let_out(error):
    request = RequestFactory().patch("/")
    assert refusal_of(error, request) is None

    @conditional_view
    def view(request):
        raise error

    with pytest.raises(type(error)):
        view(request)
    assert ConflictMiddleware(view).process_exception(request, error) is None


@pytest.mark.django_db(databases=["default", "other"])
def test_a_transaction_is_begun_on_each_database_that_is_named():
    def depths():
        return [len(connections[alias].atomic_blocks) for alias in ("default", "other")]

    view = conditional_view(using=["default", "other"])(lambda request: depths())
    outside = depths()
    assert view(RequestFactory().get("/")) == outside
    assert view(RequestFactory().post("/")) == [depth + 1 for depth in outside]


# --- beside Django's own middleware --------------------------------------

GZIP = "django.middleware.gzip.GZipMiddleware"
CONDITIONAL = "django.middleware.http.ConditionalGetMiddleware"


@pytest.mark.parametrize(
    "around", [[GZIP], [GZIP, CONDITIONAL], [CONDITIONAL, GZIP], [CONDITIONAL]]
)
@pytest.mark.parametrize("name", ["decorated", "decorated-async"])
def test_a_client_that_echoes_what_it_got_can_always_write(name, around, settings):
    settings.MIDDLEWARE = [*around, *settings.MIDDLEWARE]
    account = AccountFactory(owner="x" * 90)  # long enough to be compressed
    zipped = {"Accept_Encoding": "gzip"}
    for count in range(1, 4):
        got = send(name, "GET", account.pk, **zipped)
        changed = send(
            name,
            "PATCH",
            account.pk,
            {"balance": count},
            If_Match=got["ETag"],
            **zipped,
        )
        assert changed.status_code == 200
    again = send(name, "GET", account.pk, If_None_Match=changed["ETag"], **zipped)
    assert again.status_code == 304


# --- models --------------------------------------------------------------


def test_a_child_of_another_table_is_the_same_row():
    bistro = Bistro.objects.create(name="Chez Henri")
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, bistro, current=lambda row: {"tables": row.tables})
    Place.objects.update(name="theirs")
    with pytest.raises(RecordModifiedError) as caught:
        bistro.save()
    refusal = refusal_of(caught.value, request)
    assert (refusal.status, refusal.current_version) == (412, 2)
    assert refusal.current == {"tables": 0}


def test_a_model_with_the_field_alone_is_guarded():
    instance = ConcurrentModel.objects.create(name="one")
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    check_preconditions(request, instance)
    other = ConcurrentModel.objects.get()
    other.save()
    with pytest.raises(RecordModifiedError) as caught:
        instance.save()
    assert refusal_of(caught.value, request).status == 412


def test_a_version_that_was_not_loaded_is_one_clear_error():
    ConcurrentModel.objects.create(name="one")
    instance = ConcurrentModel.objects.only("name").get()
    request = RequestFactory().patch("/", headers={"If-Match": '"1"'})
    with pytest.raises(ValueError, match="was not loaded"):
        check_preconditions(request, instance)


# --- what it costs -------------------------------------------------------


def queries(name, pk, **headers):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        answer = send(name, "PATCH", pk, {"balance": 1}, **headers)
    assert answer.status_code == 200
    return [query["sql"].split()[0] for query in captured]


@pytest.mark.parametrize("name", ["optional", "retried"])
def test_a_precondition_costs_no_query(name, account):
    without = queries(name, account.pk)
    assert queries(name, account.pk, If_Match='"2"') == without
    assert without.count("SELECT") == 1
    assert without.count("UPDATE") == 1


def test_the_version_of_the_header_is_in_the_where(account):
    with CaptureQueriesContext(connection) as captured:
        send("decorated", "PATCH", account.pk, {"balance": 1}, If_Match='"1"')
    update = next(q["sql"] for q in captured if q["sql"].startswith("UPDATE"))
    assert "version" in update.split("WHERE")[1]


def test_a_missing_header_is_named_in_the_error(account):
    with pytest.raises(PreconditionRequired, match="If-Match"):
        check_preconditions(RequestFactory().patch("/"), account, required=True)


def test_a_false_precondition_can_be_counted(account):
    told = []

    def count(sender, instance, error, request, **kwargs):
        told.append((sender, instance, error.slug, request.method))

    precondition_failed.connect(count)
    try:
        request = RequestFactory().patch("/", headers={"If-Match": '"0"'})
        with pytest.raises(PreconditionFailed):
            check_preconditions(request, account)
    finally:
        precondition_failed.disconnect(count)
    assert told == [(Account, account, "stale", "PATCH")]


def test_what_is_shown_is_the_row_that_was_refused_also_if_checked_before(account):
    other = AccountFactory(owner="other")
    Account.objects.filter(pk=other.pk).update(balance=1)
    other.refresh_from_db()
    request = RequestFactory().patch("/", headers={"If-Match": '"1", "2"'})
    shown = {"current": lambda row: row.owner}
    check_preconditions(request, account, **shown)
    check_preconditions(request, other, **shown)
    request.META["HTTP_IF_MATCH"] = '"7"'
    with pytest.raises(PreconditionFailed) as failed:
        check_preconditions(request, account, **shown)
    assert refusal_of(failed.value, request).current == account.owner
