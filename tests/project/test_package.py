"""What is installed, and what importing it does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import metadata, requires, version
from importlib.resources import files
from pathlib import Path

import pytest

import optilock

PACKAGE = Path(optilock.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
Defined = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def run(code: str) -> str:
    return subprocess.run(  # noqa: S603 -- our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_types_are_installed_with_the_package():
    assert files("optilock").joinpath("py.typed").is_file()


def test_django_is_the_only_dependency():
    required = [name for name in requires("optilock") or [] if "extra ==" not in name]
    assert [name.lower() for name in required] == ["django>=5.2"]


def test_the_package_says_which_release_it_is():
    assert optilock.__version__ == version("optilock")


def test_the_index_page_has_links_to_follow():
    links = metadata("optilock").get_all("Project-URL") or []
    assert {link.split(",")[0] for link in links} == {
        "Documentation",
        "Source",
        "Changelog",
        "Issues",
    }


@pytest.mark.parametrize("name", sorted(optilock.__all__))
def test_each_public_name_can_be_imported_and_is_listed(name):
    found = getattr(optilock, name)
    assert getattr(found, "__name__", repr(found)) == name
    assert name in dir(optilock)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'IntegerVersion'"):
        optilock.IntegerVersion  # noqa: B018


def test_importing_the_package_imports_no_django():
    # Settings and apps aren't there yet while INSTALLED_APPS is being read.
    assert run("import sys, optilock; print('django' in sys.modules)") == "False\n"


def test_the_field_and_the_errors_need_no_settings():
    code = "from optilock import IntegerVersionField, RecordModifiedError"
    assert run(code) == ""


def test_neither_the_admin_nor_a_framework_for_apis_is_needed():
    code = """
from django.conf import settings
settings.configure(INSTALLED_APPS=["optilock"])
import django
django.setup()
from django.core.management import call_command
call_command("check")
"""
    assert run(code) == "System check identified no issues (0 silenced).\n"


def test_the_log_is_imported_only_where_it_is_installed():
    code = """
import sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.messages", "django.contrib.sessions", "optilock",
    ],
)
import django
django.setup()
import optilock.admin, optilock.views
print([name for name in sys.modules if name.startswith("optilock.log")])
"""
    assert run(code) == "[]\n"


#: Half of each of these is what the reference says of it.
MAY_BE_LONG = {"check_preconditions", "retry_on_conflict"}


def length(node: Defined) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_what_is_to_be_read_at_once_is_small(module):
    text = (PACKAGE / module).read_text()
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, Defined)]
    allowed = {node: 250 if isinstance(node, ast.ClassDef) else 50 for node in nodes}
    assert len(text.splitlines()) <= 400
    long = {node.name for node in nodes if length(node) > allowed[node]}
    assert long == MAY_BE_LONG & {node.name for node in nodes}


def test_any_stands_for_a_type_only_where_none_can_be_said():
    # Some are Django's own: what projects override must take what they write.
    texts = [(PACKAGE / module).read_text() for module in MODULES]
    assert sum(len(re.findall(r"\bAny\b", text)) for text in texts) < 150
