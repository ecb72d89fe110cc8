"""Clients of the views in testapp/http.py, and somebody else who writes."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient, Client
from testapp.models import Account

from optilock.testing import _in_another_connection

SYNC = ["function", "class", "decorated", "decorated-class", "own-dispatch"]
ASYNC = ["async", "decorated-async", "async-class"]
JSON = "application/problem+json"


def send(name, method, pk, body=None, **headers):
    """Send a request to one of the views, sync or async."""
    arguments = {
        "path": f"/{name}/{pk}/",
        "data": "" if body is None else json.dumps(body),
        "content_type": "application/json",
        "headers": {key.replace("_", "-"): value for key, value in headers.items()},
    }
    if name in ASYNC:
        # In this way its queries run in this thread, on the test's connection.
        return async_to_sync(_send_async)(method, arguments)
    return Client().generic(method, **arguments)


async def _send_async(method, arguments):
    return await AsyncClient().generic(method, **arguments)


def row(account):
    return Account.objects.values_list("owner", "balance", "version").get(pk=account.pk)


def theirs(account, **values):
    """Somebody else's write, on whatever connection runs it."""
    values = values or {"owner": "theirs"}
    return lambda: Account.objects.filter(pk=account.pk).update(**values)


@contextmanager
def created_meanwhile(**values):
    """Somebody commits a new account just before one is inserted here."""
    written = []

    def overtake(execute, sql, params, many, context):
        if sql.startswith("INSERT") and "testapp_account" in sql and not written:
            written.append(sql)
            _in_another_connection(lambda: Account.objects.create(**values))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(overtake):
        yield
    assert written


def skip_where_nobody_can_write_meanwhile():
    if connection.vendor == "sqlite":
        pytest.skip("in a transaction, SQLite lets nobody else write")
