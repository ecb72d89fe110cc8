"""Projects that have forgotten ``"optilock"`` in ``INSTALLED_APPS``."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from django.apps import apps

from optilock.installation import check_installation

MODELS = """
from django.db import models
from optilock import VersionedModel

class Order(VersionedModel):
    note = models.TextField()
"""
FORM = """
from optilock.forms import VersionedModelForm
from stock.models import Order

class OrderForm(VersionedModelForm):
    class Meta:
        model = Order
        fields = ["note"]
"""
FORMSET = """
from django.forms import modelformset_factory
from optilock.forms import VersionedModelFormSet
from stock.models import Order

Orders = modelformset_factory(Order, fields=["note"], formset=VersionedModelFormSet)
"""
VIEW = """
from django.views.generic import DeleteView
from optilock.views import VersionedDeleteMixin
from stock.models import Order

class OrderDelete(VersionedDeleteMixin, DeleteView):
    model = Order
"""
CONDITIONAL = """
from optilock.http import conditional_view

@conditional_view
def show(request):
    pass
"""
#: Loaded only by the URLs, which the checks load: nothing else imports the forms.
URLS = "from stock import views\nurlpatterns = []\n"
CHECK = """
import sys
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    INSTALLED_APPS=["stock", *sys.argv[2:]],
    MIDDLEWARE=[one for one in sys.argv[1].split(",") if one],
    ROOT_URLCONF="stock.urls",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
call_command("check")
"""
MIDDLEWARE = "optilock.http.middleware.ConflictMiddleware"


@pytest.fixture
def check(tmp_path):
    """Run the checks of a project of one app, as ``manage.py`` does at its start."""

    def run(views, *installed, middleware=""):
        app = tmp_path / "stock"
        app.mkdir()
        for name, text in (
            ("__init__", ""),
            ("models", MODELS),
            ("views", views),
            ("urls", URLS),
        ):
            (app / f"{name}.py").write_text(textwrap.dedent(text))
        return subprocess.run(  # noqa: S603 -- our own program
            [sys.executable, "-c", CHECK, middleware, *installed],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("views", "name"),
    [
        (FORM, "stock.views.OrderForm"),
        (FORMSET, "django.forms.formsets.OrderFormSet"),
        (VIEW, "stock.views.OrderDelete"),
        (CONDITIONAL, "stock.views.show"),
    ],
    ids=["form", "formset", "view", "conditional"],
)
def test_what_shows_conflicts_needs_the_app(check, views, name):
    done = check(views)
    assert done.returncode == 1
    assert "optilock.E034" in done.stderr
    assert name in done.stderr
    assert 'Add "optilock" to INSTALLED_APPS' in done.stderr


def test_the_middleware_needs_the_app(check):
    done = check("", middleware=MIDDLEWARE)
    assert "optilock.E034" in done.stderr
    assert MIDDLEWARE in done.stderr


@pytest.mark.parametrize(
    ("views", "installed"), [(FORM, ["optilock"]), ("", [])], ids=["app", "lock alone"]
)
def test_nothing_is_said_where_nothing_is_amiss(check, views, installed):
    done = check(views, *installed)
    assert done.returncode == 0, done.stderr
    assert "optilock." not in done.stderr


def test_a_project_without_urls_is_told_of_its_middleware(monkeypatch, settings):
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    monkeypatch.setattr("optilock.installation._needs", set())
    del settings.ROOT_URLCONF
    settings.MIDDLEWARE = ["optilock.http.middleware.ConflictMiddleware"]
    [message] = check_installation()
    assert message.id == "optilock.E034"
    assert "of optilock.http.middleware.ConflictMiddleware is" in message.msg
    settings.MIDDLEWARE = []
    assert check_installation() == []
