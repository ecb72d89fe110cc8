"""How the site is built: ``sphinx-build -W -n docs docs/_build``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import django
import tomllib
from django.conf import settings
from sphinx.application import Sphinx

import optilock

# The docstrings are read from the modules, and those need Django's apps.
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "optilock",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()

ROOT = Path(__file__).parent.parent
#: Pages that are at the root of the repository, where people look for them.
INCLUDED = ("changelog", "contributing", "security")
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]

project = "optilock"
author = "The optilock developers"
version = release = optilock.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

# `[merged](#merge-it)` leads to a heading, as it does on GitHub.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types and units where it matters
autoclass_content = "class"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = False
napoleon_attr_annotations = False

# Nothing is fetched while the site is built, so other projects' names, and what the
# types in signatures are called, lead nowhere. Names of optilock have to.
nitpick_ignore_regex = [(r"py:.*", r"(?!optilock).*")]

html_theme = "furo"
html_title = f"optilock {release}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": URLS["Source"],
    "source_branch": "main",
    "source_directory": "docs/",
}


def setup(app: Sphinx) -> None:
    app.connect("source-read", _link)
    app.connect("autodoc-process-docstring", _keep, priority=400)
    app.connect("autodoc-process-docstring", _put_back, priority=600)


def _keep(app: Sphinx, what: str, name: str, *rest: Any) -> None:
    if what in ("attribute", "property"):
        app.optilock_kept = [*rest[-1]]  # type: ignore[attr-defined]


def _put_back(app: Sphinx, what: str, name: str, *rest: Any) -> None:
    """Take an attribute's text as it is: to napoleon, a colon ends its type."""
    if what in ("attribute", "property"):
        rest[-1][:] = app.optilock_kept  # type: ignore[attr-defined]


def _link(app: Sphinx, name: str, source: list[str]) -> None:
    """Lead links to where things are on the site, or else in the repository.

    So pages are linked the same way whether they are read there or here, and
    pages at the root of the repository are read here as well.
    """
    text = source[0]
    if included := re.fullmatch(r"```{include} (\.\./\w+\.md)\n```\n", text):
        text = (ROOT / "docs" / included[1]).read_text()
        text = re.sub(r"(\]\()(?!https?:|#)", r"\1../", text)
    text = re.sub(r"(\]\()\.\./docs/", r"\1", text)
    for page in INCLUDED:
        text = text.replace(f"](../{page.upper()}.md", f"]({page}.md")
    source[0] = re.sub(
        r"(?<!!)(\[[^\[\]]+\]\()\.\./([^)]+\))",
        rf"\1{URLS['Source']}/blob/main/\2",
        text,
    )
