"""Databases that Django is told of at run time, and threads that write to them."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from django.db import connections, router
from django.db.utils import load_backend
from testapp.models import Account, Daybook, Ledger

MODELS = [Account, Ledger, Daybook]


@contextmanager
def databases(*routers, **settings):
    """Let Django know these databases, and no others."""
    before = connections.settings, {alias: connections[alias] for alias in connections}
    new = connections.configure_settings(settings)
    for alias in before[1]:
        del connections[alias]
    vars(connections)["settings"] = new
    routers_before, vars(router)["routers"] = router.routers, list(routers)
    try:
        yield
    finally:
        vars(router)["routers"] = routers_before
        connections.close_all()
        close_pools()
        for alias in new:
            if hasattr(connections._connections, alias):
                del connections[alias]
        vars(connections)["settings"] = before[0]
        for alias, connection in before[1].items():
            connections[alias] = connection


def close_pools():
    for connection in connections.all(initialized_only=True):
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def make_tables(using="default"):
    with connections[using].schema_editor() as editor:
        for model in reversed(MODELS):
            editor.execute(f"DROP TABLE IF EXISTS {model._meta.db_table}")
        for model in MODELS:
            editor.create_model(model)


@contextmanager
def default_is(alias):
    """Let this thread's default database be another one, in its own connection."""
    settings = connections.settings[alias]
    before = connections["default"]
    backend = load_backend(settings["ENGINE"])
    connections["default"] = backend.DatabaseWrapper(settings, "default")
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = before


def race(count, work, meanwhile=None):
    """Run work(0), work(1) ... in a thread each; raise what one of them raises.

    Args:
        count: how many threads.
        work: what each of them calls, with its number.
        meanwhile: what this thread does.
    """
    errors = []
    start = threading.Barrier(count)

    def run(number):
        try:
            start.wait()
            work(number)
        except BaseException as error:
            start.abort()
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        if meanwhile is not None:
            meanwhile()
    finally:
        for thread in threads:
            thread.join()
    for error in errors:
        raise error
