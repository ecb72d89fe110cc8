"""Pages of the admin as a person without JavaScript uses them."""

from __future__ import annotations

import html
import re
import zlib
from html.parser import HTMLParser
from urllib.parse import unquote

from django.contrib.messages import get_messages
from django.core import signing
from django.test import Client
from django.urls import reverse


class Inputs(HTMLParser):
    """What a browser would send back: the successful controls of the form."""

    def __init__(self, text):
        super().__init__()
        self.data, self.radios, self.buttons = {}, {}, []
        self.select = self.textarea = None
        self.feed(text)

    def add(self, name, value):
        self.data.setdefault(name, []).append(value)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        name = attrs.get("name")
        if tag == "input" and name:
            kind, value = attrs.get("type", "text"), attrs.get("value", "")
            if kind in ("radio", "checkbox"):
                self.radios.setdefault(name, []).append(attrs.get("value", "on"))
                if "checked" in attrs:
                    self.add(name, attrs.get("value", "on"))
            elif kind in ("submit", "button"):
                self.buttons.append(name)
            elif kind != "file":
                self.add(name, value)
        elif tag == "select":
            self.select, self.first, self.chosen = name, None, []
            self.multiple = "multiple" in attrs
        elif tag == "option" and self.select:
            if self.first is None:
                self.first = attrs.get("value", "")
            if "selected" in attrs:
                self.chosen.append(attrs.get("value", ""))
        elif tag == "textarea":
            self.textarea, self.written = name, ""

    def handle_data(self, data):
        if self.textarea:
            self.written += data

    def handle_endtag(self, tag):
        if tag == "textarea" and self.textarea:
            # A browser drops the first newline and sends \r\n.
            text = self.written.removeprefix("\r\n").removeprefix("\n")
            self.add(self.textarea, "\r\n".join(text.splitlines()))
            self.textarea = None
        elif tag == "select" and self.select:
            chosen = self.chosen
            if not chosen and not self.multiple and self.first is not None:
                chosen = [self.first]
            for value in chosen:
                self.add(self.select, value)
            self.select = None


class Page:
    """A response, and the form on it."""

    def __init__(self, client, url, response):
        self.client, self.url, self.response = client, url, response

    @classmethod
    def get(cls, user, url):
        client = Client(raise_request_exception=True)
        client.force_login(user)
        page = cls(client, url, client.get(url))
        if page.redirects:
            url = page.response.url
            page = cls(client, url, client.get(url))
        return page

    @classmethod
    def change(cls, user, obj, query=""):
        return cls.get(user, admin_url(obj, "change", obj.pk) + query)

    @classmethod
    def list(cls, user, model, query=""):
        return cls.get(user, admin_url(model, "changelist") + query)

    @classmethod
    def delete(cls, user, obj, query=""):
        return cls.get(user, admin_url(obj, "delete", obj.pk) + query)

    @property
    def text(self):
        return self.response.content.decode()

    @property
    def inputs(self):
        return Inputs(self.text)

    @property
    def data(self):
        return {name: values[-1] for name, values in self.inputs.data.items()}

    @property
    def attributes(self):
        """What the page's script reads from the input of the token."""
        found = re.findall(r'(data-optilock-\w+)="([^"]*)"', self.text)
        return {name: html.unescape(value) for name, value in found}

    @property
    def redirects(self):
        return self.response.status_code == 302

    @property
    def messages(self):
        return [str(message) for message in get_messages(self.response.wsgi_request)]

    @property
    def panel(self):
        """The conflict panel's HTML, empty if there is none."""
        _, _, rest = self.text.partition('<section class="optilock-conflict"')
        return rest.partition("</section>")[0]

    @property
    def tokens(self):
        """What is in the tokens of the page and its URL, for anybody who looks."""
        values = [v for values in self.inputs.data.values() for v in values]
        found = re.findall(
            r"[\w.-]+:[\w-]+:[\w-]{43}", " ".join([*values, unquote(self.url)])
        )
        payloads = [token.split(":")[0] for token in found]
        return [
            zlib.decompress(signing.b64_decode(text[1:].encode())).decode()
            if text.startswith(".")
            else signing.b64_decode(text.encode()).decode()
            for text in payloads
        ]

    def post(self, without=(), **changes):
        data = self.inputs.data | changes
        data = {k: v for k, v in data.items() if k not in without and v is not None}
        return Page(self.client, self.url, self.client.post(self.url, data))

    def save(self, button="_save", without=(), **changes):
        return self.post(without=without, **{button: "Save", **changes})


class Script:
    """What the script of an open page asks, and how it is answered."""

    def __init__(self, page):
        self.client = page.client
        self.url = page.attributes["data-optilock-poll"]
        self.data = {
            "optilock_poll": "look",
            "optilock_token": page.data["optilock_token"],
        }

    def ask(self, question="look", **data):
        data = {**self.data, "optilock_poll": question, **data}
        return self.client.post(self.url, data)

    def look(self, **data):
        return self.ask(**data).json()


def admin_url(model, view, *args):
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{view}", args=args)


def values(form):
    """Return what a browser sends back of a form that nobody has touched."""
    data = {}
    for bound in form:
        value = bound.value()
        if isinstance(value, list):
            value = [getattr(one, "pk", one) for one in value]
        data[bound.html_name] = "" if value is None else value
    return data
