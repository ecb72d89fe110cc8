"""Somebody else, in a thread and so on connections of their own."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Event, Thread

from django.db import connections, transaction


class SomebodyElse(Thread):
    """Runs a function. What it raises is raised by ``join()``."""

    def __init__(self, function):
        super().__init__(daemon=True)
        self.function = function
        self.error = None

    def run(self):
        try:
            self.function()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def join(self, timeout=None):
        super().join(timeout)
        if self.error is not None:
            raise self.error


def elsewhere(function):
    """Run a function on another connection, and wait for it."""
    thread = SomebodyElse(function)
    thread.start()
    thread.join()


@contextmanager
def locked_elsewhere(row):
    """Somebody else holds a lock on a row until the block ends."""
    has_locked, is_over = Event(), Event()

    def hold():
        with transaction.atomic():
            list(type(row).objects.select_for_update().filter(pk=row.pk))
            has_locked.set()
            is_over.wait()

    thread = SomebodyElse(hold)
    thread.start()
    try:
        has_locked.wait(10)
        yield
    finally:
        is_over.set()
        thread.join()


def going_on(seconds, is_enough):
    """Yield for so long, and on a busy machine until there is enough to judge by.

    Not for ever: after a minute more, what there is must do.
    """
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < seconds + 60:
        if elapsed >= seconds and is_enough():
            return
        yield
