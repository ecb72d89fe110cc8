"""Clients count at real servers, also through a proxy that loses answers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from socket import create_server
from threading import Barrier, Thread

import pytest
from django.db import connection
from factories import AccountFactory
from testapp.models import Account

CLIENTS, INCREMENTS = 8, 50
#: Seconds in which a server has to start, and all have to have counted.
PATIENCE = 90
#: Of how many answers to a PATCH the proxy loses one.
LOSES = 10

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.servers,
    pytest.mark.skipif(
        connection.vendor == "sqlite", reason="SQLite lets one process write at a time"
    ),
]

#: The server's command, with its listening socket, and the view that is served.
SERVERS = {
    "gunicorn": (
        "gunicorn --workers 4 --worker-class gthread --threads 4 --bind fd://{}",
        "wsgi",
        "decorated",
    ),
    "uvicorn": (
        "uvicorn --fd {}",
        "asgi",
        "decorated-async",
    ),
}


@pytest.fixture(params=SERVERS)
def served(request):
    """Run a server, and yield its address and the name of a view."""
    if not find_spec(request.param):
        pytest.skip(f"needs {request.param}")
    command, interface, name = SERVERS[request.param]
    with create_server(("127.0.0.1", 0), backlog=100) as listening:
        fd = listening.fileno()
        tests = str(Path(__file__).parents[1])
        example = str(Path(tests).parent / "example_project")
        environment = {
            **os.environ,
            "OPTILOCK_SERVED": str(connection.settings_dict["NAME"]),
            "PYTHONPATH": os.pathsep.join([tests, example]),
            "DJANGO_SETTINGS_MODULE": "testapp.settings",
        }
        process = subprocess.Popen(  # noqa: S603 -- our own command
            [
                *[sys.executable, "-m", *command.format(fd).split()],
                *["--log-level", "error", f"testapp.served:{interface}"],
            ],
            env=environment,
            pass_fds=[fd],
            start_new_session=True,  # its workers go with it
        )
        try:
            wait_for(process, listening.getsockname())
            yield listening.getsockname(), name
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(process, address):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        http = HTTPConnection(*address, timeout=PATIENCE)
        try:
            http.request("GET", "/")
            assert http.getresponse().status == 404
        except (HTTPException, OSError):
            time.sleep(0.1)
        else:
            return
        finally:
            http.close()
    pytest.fail("The server doesn't answer; see what it has printed.")


@contextmanager
def losing_proxy(address):
    """Hand requests on, and lose some answers to what has been done by then."""
    patches, lost = count(1), []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def hand_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server = HTTPConnection(*address, timeout=60)
            server.request(self.command, self.path, body, dict(self.headers))
            answer = server.getresponse()
            content = answer.read()
            server.close()
            is_done = self.command == "PATCH" and answer.status == 200
            if is_done and next(patches) % LOSES == 0:
                lost.append(self.path)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name in ("Content-Type", "ETag"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = hand_on  # noqa: N815

        def log_message(self, *args):
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy.server_address, lost
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


class Client(Thread):
    """Counts in a place of its own, and in a sum, until it has seen that it is there.

    What it can't know, because an answer is lost, it reads.
    """

    def __init__(self, place, address, url, barrier):
        super().__init__()
        self.place, self.address, self.url = place, address, url
        self.barrier = barrier
        self.answers = Counter()
        self.connection = None

    def request(self, method, body=None, **headers):
        """Return status, tag and content; ``None`` if the answer is lost."""
        headers["Content-Type"] = "application/json"
        if self.connection is None:
            self.connection = HTTPConnection(*self.address, timeout=60)
        try:
            self.connection.request(
                method, self.url, body and json.dumps(body), headers
            )
            answer = self.connection.getresponse()
            content = answer.read()
        except (HTTPException, OSError):
            self.connection.close()
            self.connection = None
            if method == "PATCH":
                self.answers["lost"] += 1
            return None
        if method == "PATCH":
            self.answers[answer.status] += 1
        return answer.status, answer.headers["ETag"], content and json.loads(content)

    def run(self):
        self.barrier.wait()
        self.deadline = time.monotonic() + PATIENCE
        seen = None  # the tag of the row as it was last shown, and the row
        for number in range(1, INCREMENTS + 1):
            while True:
                seen = seen or self.get()
                tag, row = seen
                counts = json.loads(row["owner"])
                if counts[self.place] >= number:
                    break  # done, though nobody has said so
                counts[self.place] = number
                body = {"owner": json.dumps(counts), "balance": row["balance"] + 1}
                answer = self.request("PATCH", body, **{"If-Match": tag})
                seen = None
                if answer is None:
                    continue
                status, tag, content = answer
                if status == 200:
                    seen = tag, content
                elif status == 412 and "current" in content:
                    seen = tag, content["current"]
                    time.sleep(random.uniform(0, 0.02))
        if self.connection is not None:
            self.connection.close()

    def get(self):
        answer = self.request("GET")
        while answer is None or answer[0] != 200:
            if time.monotonic() > self.deadline:
                raise TimeoutError(f"The last answer was {answer}.")
            time.sleep(0.01)
            answer = self.request("GET")
        return answer[1:]


def run_clients(address, name):
    """Let all count, and return how often each kind of answer came."""
    account = AccountFactory(balance=0, owner=json.dumps([0] * CLIENTS))
    url, barrier = f"/{name}/{account.pk}/", Barrier(CLIENTS)
    clients = [Client(place, address, url, barrier) for place in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    account = Account.objects.get()
    assert json.loads(account.owner) == [INCREMENTS] * CLIENTS
    assert account.balance == CLIENTS * INCREMENTS
    assert account.version == CLIENTS * INCREMENTS + 1  # none was done twice
    return sum((client.answers for client in clients), Counter())


def test_no_increment_is_lost(served):
    address, name = served
    answers = run_clients(address, name)
    assert answers[200] == CLIENTS * INCREMENTS
    assert answers[412] > 0
    assert set(answers) <= {200, 412, 503}


def test_no_increment_is_lost_or_done_twice_where_answers_are_lost(served):
    address, name = served
    with losing_proxy(address) as (proxy, lost):
        answers = run_clients(proxy, name)
    assert len(lost) == CLIENTS * INCREMENTS // LOSES == answers["lost"]
    assert answers[200] == CLIENTS * INCREMENTS - len(lost)
    assert answers[412] > 0
    assert set(answers) <= {200, 412, 503, "lost"}
