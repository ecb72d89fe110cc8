"""Clients count over HTTP, each as the rules say: no increment is lost."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from threading import Barrier, Thread
from urllib.parse import urlsplit

import pytest
from factories import AccountFactory
from testapp.models import Account

CLIENTS, INCREMENTS = 4, 25

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]


class Counter(Thread):
    """A client: get, add one, patch, and all over again after a 412."""

    def __init__(self, server, url, barrier):
        super().__init__()
        self.server, self.url, self.barrier = server, url, barrier
        self.answers = []

    def request(self, method, body=None, **headers):
        http = HTTPConnection(self.server, timeout=60)
        headers["Content-Type"] = "application/json"
        http.request(method, self.url, body and json.dumps(body), headers)
        answer = http.getresponse()
        body = answer.read()
        http.close()
        return answer.status, answer.headers["ETag"], body

    def run(self):
        self.barrier.wait()
        for _ in range(INCREMENTS):
            while True:
                status, tag, body = self.request("GET")
                assert status == 200, body
                balance = json.loads(body)["balance"] + 1
                headers = {"If-Match": tag}
                status, _, body = self.request("PATCH", {"balance": balance}, **headers)
                self.answers.append(status)
                if status == 200:
                    break
                if status not in (412, 503):
                    return


def count(live_server, kind):
    account = AccountFactory(balance=0)
    url, barrier = f"/{kind}/{account.pk}/", Barrier(CLIENTS)
    server = urlsplit(live_server.url).netloc
    clients = [Counter(server, url, barrier) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    done = [status for client in clients for status in client.answers]
    assert done.count(200) == CLIENTS * INCREMENTS
    assert set(done) <= {200, 412, 503}
    assert Account.objects.get().balance == CLIENTS * INCREMENTS
    assert Account.objects.get().version == CLIENTS * INCREMENTS + 1
    return done


@pytest.mark.urls("testapp.http")
def test_plain_views_lose_no_increment(live_server, atomic_requests):
    assert 412 in count(live_server, "decorated")


@pytest.mark.urls("testapp.api")
def test_views_of_rest_framework_lose_no_increment(live_server, atomic_requests):
    pytest.importorskip("rest_framework", reason="needs djangorestframework")
    assert 412 in count(live_server, "accounts")
