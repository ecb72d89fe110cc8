"""How many requests per second does a real server answer, with If-Match and without?

One gunicorn worker serves the views of ``benchmarks.http`` through Django's usual
middleware. Clients that each have a row of their own keep it busy all the time.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from itertools import count
from socket import IPPROTO_TCP, TCP_NODELAY, create_server, socket

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.urls import path

from benchmarks import harness, http

SETTINGS = {
    **http.SETTINGS,
    "ALLOWED_HOSTS": ["127.0.0.1"],
    "MIDDLEWARE": [
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "optilock.http.middleware.ConflictMiddleware",
    ],
}
#: Enough that the server never waits for one of them.
CLIENTS = 3
REQUESTS = 50  # of each client in one round

#: The view's path, the rows of the clients, and whether If-Match is sent.
Served = tuple[str, list[int], bool]


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    views = {}
    ways: dict[str, Served] = {}
    for name, is_tagged in {
        "Django REST framework, no lock": False,
        "a locked model, no If-Match": False,
        "optilock, no If-Match": False,
        "optilock, If-Match": True,
        "optilock, the field alone, If-Match": True,
        "drf-extensions, If-Match": True,
    }.items():
        found = http.contenders()
        view = found.get(name) or found.get(name.rpartition(", ")[0])
        if view is None:
            continue  # that package isn't installed
        model = view[0].cls.queryset.model
        slug = f"way{len(views)}"
        views[slug] = view[0]
        rows = [model._default_manager.create().pk for _ in range(CLIENTS)]
        ways[name] = (f"/{slug}/{{}}/", rows, is_tagged)
    settings.ROOT_URLCONF = tuple(
        path(f"{slug}/<int:pk>/", view) for slug, view in views.items()
    )
    with create_server(("127.0.0.1", 0), backlog=100) as listening:
        # Each connection inherits it: no answer waits for the client's acknowledgement.
        listening.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        harness.at_end(serve(listening))
        address = listening.getsockname()
        requests = 2 if plan.quick else REQUESTS
        clients = {name: Clients(address, *way) for name, way in ways.items()}
        for client in clients.values():
            client.patch(2 if plan.quick else 20)
        yield harness.Table(
            "PATCH",
            "µs of the server per request",
            harness.interleave(
                clients, plan.rounds, lambda clients: clients.patch(requests)
            ),
        )


class Clients:
    """Some clients, each with a connection and a row of its own."""

    def __init__(
        self, address: tuple[str, int], url: str, rows: list[int], is_tagged: bool
    ) -> None:
        self.is_tagged = is_tagged
        self.numbers = count()
        self.urls = [url.format(pk) for pk in rows]
        self.connections = [HTTPConnection(*address, timeout=60) for _ in rows]
        self.tags = ["*"] * len(rows)

    def patch(self, requests: int) -> float:
        """Let each of them send so many, and return the time for one of all, in µs."""
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(partial(self._patch, requests), range(CLIENTS)))
        return 1_000_000 * (time.perf_counter() - start) / (requests * CLIENTS)

    def _patch(self, requests: int, client: int) -> None:
        connection = self.connections[client]
        for _ in range(requests):
            headers = {"Content-Type": "application/json"}
            if self.is_tagged:
                headers["If-Match"] = self.tags[client]
            body = json.dumps({"owner": f"Ada {next(self.numbers)}"})
            connection.request("PATCH", self.urls[client], body, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {content!r}")
            if self.is_tagged:
                self.tags[client] = response.headers["ETag"]


def serve(listening: socket) -> Callable[[], None]:
    """Start the server in a process of its own, and return what stops it."""
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            self.cfg.set("bind", f"fd://{listening.fileno()}")
            # One thread works; the other connections stay open meanwhile.
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", 1)
            self.cfg.set("worker_connections", 100)
            self.cfg.set("keepalive", 3600)
            self.cfg.set("loglevel", "warning")

        def load(self) -> object:
            return get_wsgi_application()

    connections.close_all()  # a connection belongs to one process
    pid = os.fork()
    if not pid:
        try:
            Server().run()
        finally:
            os._exit(0)  # without what this process has to do at its end

    def stop() -> None:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)

    return stop


if __name__ == "__main__":
    harness.main("served requests", tables, rounds=30, threads=True, also=SETTINGS)
