"""What is installed, and what importing it does."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files

import pytest

import optilock


def run(code: str) -> str:
    return subprocess.run(  # noqa: S603 -- our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_types_are_installed_with_the_package():
    assert files("optilock").joinpath("py.typed").is_file()


def test_django_is_the_only_dependency():
    required = [name for name in requires("optilock") or [] if "extra ==" not in name]
    assert [name.lower() for name in required] == ["django>=5.2"]


@pytest.mark.parametrize("name", sorted(optilock.__all__))
def test_each_public_name_can_be_imported_and_is_listed(name):
    assert getattr(optilock, name).__name__ == name
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
