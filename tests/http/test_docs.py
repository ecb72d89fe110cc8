"""The view and the conversation in docs/http.md, as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import sys
from http.client import responses
from pathlib import Path
from types import ModuleType

import pytest
from django.test import Client
from django.urls import path
from shop.models import Wallet

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


def block(kind):
    return re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)[1]


@pytest.fixture
def view(settings):
    module = ModuleType("documented")
    exec(block("python"), vars(module))  # noqa: S102 -- it is ours
    module.urlpatterns = [path("wallets/<int:pk>/", module.wallet_view)]
    sys.modules[module.__name__] = module
    settings.ROOT_URLCONF = module.__name__
    yield
    del sys.modules[module.__name__]


def run(command):
    """Do what curl would."""
    words = iter(shlex.split(command)[1:])
    method, headers, body = "GET", {}, ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif word != "-i":
            url = word.removeprefix("http://localhost")
    return Client().generic(method, url, body, headers=headers)


@pytest.mark.django_db
def test_the_conversation_goes_as_it_is_written(view):
    Wallet.objects.create(pk=1, owner="Ann", balance=100)
    exchanges = re.split(r"^\$ ", block("console"), flags=re.M)[1:]
    assert len(exchanges) == 5
    for exchange in exchanges:
        command, status, *rest = exchange.strip().split("\n")
        answer = run(command)
        code = answer.status_code
        assert status == f"HTTP/1.1 {code} {responses[code]}"
        for line in rest:
            if line.startswith("{"):
                assert json.loads(answer.content) == json.loads(line)
            elif line:
                name, _, value = line.partition(": ")
                assert answer[name] == value
