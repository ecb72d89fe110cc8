"""What goes on around a save: statements, signals, calls, and what is undone later."""

from __future__ import annotations

import pickle
import sys
from contextlib import contextmanager
from functools import wraps

import pytest
from django.db import DatabaseError, connections, transaction
from django.test.utils import CaptureQueriesContext

TRANSACTIONS = "BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK TO"


@contextmanager
def statements(using="default"):
    """Collect what is sent, but for what only begins or ends something."""
    with CaptureQueriesContext(connections[using]) as context:
        found = []
        yield found
    sent = [query["sql"] for query in context.captured_queries]
    found += [sql for sql in sent if not sql.startswith(TRANSACTIONS)]


@contextmanager
def refusing(verb="", using="default"):
    """Let the first statement that begins with the verb fail, and collect it."""
    found = []

    def wrapper(execute, sql, params, many, context):
        if sql.startswith(verb):
            found.append(sql)
            raise DatabaseError("not to be executed")
        return execute(sql, params, many, context)

    connection = connections[using]
    with connection.execute_wrapper(wrapper), pytest.raises(DatabaseError):
        yield found


@contextmanager
def connected_with(options, using):
    """Connect to a database anew, with these options more."""
    original = connections[using]
    connections[using] = original.copy()
    connections[using].settings_dict["OPTIONS"].update(options)
    try:
        yield
    finally:
        connections[using].close()
        connections[using] = original


@contextmanager
def listening(signal, receiver, sender):
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


def undone(write):
    """Write in a transaction, or a savepoint, that is rolled back."""
    with transaction.atomic():
        write()
        transaction.set_rollback(True)


def pickled(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 -- it is our own


def calls_of(function):
    """Return the code of each Python function that is called, in order."""
    codes = []

    def note(frame, event, argument):
        if event == "call":
            codes.append(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return codes


def spy(monkeypatch, owner, name):
    """Patch a method as a package does, and collect whose it is called."""
    original = getattr(owner, name)
    calls = []

    @wraps(original)
    def patched(self, *args, **kwargs):
        calls.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, patched)
    return calls
