"""Plain views that speak ETag and If-Match, of each kind Django has."""

from __future__ import annotations

import json

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.shortcuts import aget_object_or_404, get_object_or_404
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from optilock import RecordModifiedError, retry_on_conflict
from optilock.http import check_preconditions, conditional_view, etag_of, not_modified
from testapp.models import Account, Book, Unlocked


def data(account):
    return {"owner": account.owner, "balance": account.balance}


def change(account, request):
    """Write something else first, then the account."""
    Unlocked.objects.create(name="written before")
    for name, value in json.loads(request.body or "{}").items():
        setattr(account, name, value)
    account.save()


def answer(account):
    return JsonResponse(data(account), headers={"ETag": str(etag_of(account))})


def account(request, pk, required=True):
    if request.method == "PUT":
        account = Account.objects.filter(pk=pk).first() or Account(pk=pk)
    else:
        account = get_object_or_404(Account, pk=pk)
    if request.method == "GET":
        return not_modified(request, etag_of(account)) or answer(account)
    check_preconditions(request, account, required=required, current=data)
    if request.method == "DELETE":
        Unlocked.objects.create(name="written before")
        account.delete()
        return HttpResponse(status=204)
    is_new = account._state.adding
    change(account, request)
    response = answer(account)
    response.status_code = 201 if is_new else 200
    return response


class AccountView(View):
    def get(self, request, pk):
        return account(request, pk)

    patch = put = delete = get


@method_decorator(conditional_view, name="dispatch")
class DecoratedView(AccountView):
    pass


async def async_account(request, pk):
    account = await aget_object_or_404(Account, pk=pk)
    if request.method == "GET":
        return not_modified(request, etag_of(account)) or answer(account)
    check_preconditions(request, account, required=True, current=data)
    if request.method == "DELETE":
        await account.adelete()
        return HttpResponse(status=204)
    # Django has no transactions for coroutines: one function writes it all.
    await sync_to_async(transaction.atomic(change))(account, request)
    return answer(account)


@method_decorator(conditional_view, name="dispatch")
class AsyncView(View):
    async def get(self, request, pk):
        return await async_account(request, pk)

    patch = delete = get


class OwnDispatch(AccountView):
    @conditional_view
    def dispatch(self, request, *args, **kwargs):
        return super().dispatch(request, *args, **kwargs)


def optional(request, pk):
    return account(request, pk, required=False)


def saving_with_merge(request, pk):
    account = get_object_or_404(Account, pk=pk)
    check_preconditions(request, account)
    account.owner = "mine"
    account.save(on_conflict="merge")
    return answer(account)


def refreshing(request, pk):
    account = get_object_or_404(Account, pk=pk)
    check_preconditions(request, account)
    Account.objects.filter(pk=pk).update(owner="theirs")
    account.refresh_from_db()
    account.balance = 0
    account.save()
    return answer(account)


def answering_by_itself(request, pk):
    account = get_object_or_404(Account, pk=pk)
    try:
        change(account, request)
    except RecordModifiedError:
        return JsonResponse({}, status=409)
    return answer(account)


def author_of_a_book(request, pk):
    """Save the book, then its author, whom the request isn't about."""
    book = get_object_or_404(Book.objects.select_related("author"), pk=pk)
    check_preconditions(request, book)
    book.author.name = "mine"
    book.author.save()
    book.save()
    return HttpResponse()


def many(request):
    accounts = list(Account.objects.all())
    Account.objects.bulk_update(accounts, ["balance"])
    return HttpResponse()


urlpatterns = [
    path("function/<int:pk>/", account),
    path("class/<int:pk>/", AccountView.as_view()),
    path("decorated/<int:pk>/", csrf_exempt(conditional_view(account))),
    path("decorated-class/<int:pk>/", DecoratedView.as_view()),
    path("own-dispatch/<int:pk>/", OwnDispatch.as_view()),
    path("async-class/<int:pk>/", AsyncView.as_view()),
    path("async/<int:pk>/", async_account),
    path("decorated-async/<int:pk>/", conditional_view(async_account)),
    path("optional/<int:pk>/", conditional_view(optional)),
    path("retried/<int:pk>/", conditional_view(retry_on_conflict(optional))),
    path("merging/<int:pk>/", conditional_view(saving_with_merge)),
    path("refreshing/<int:pk>/", conditional_view(refreshing)),
    path("by-itself/<int:pk>/", conditional_view(answering_by_itself)),
    path("book/<int:pk>/", conditional_view(author_of_a_book)),
    path("many/", conditional_view(many)),
]
