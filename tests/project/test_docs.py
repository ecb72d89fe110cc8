"""The pages: their code runs, their links lead somewhere, their tables are complete.

Each page is one program: its Python samples run one after the other, in the order in
which they stand, on the database of the suite. What a sample needs and the reader
doesn't, stands in front of it in a comment, and what it promises behind it::

    <!-- given
    page = Page.objects.create(title="Hello")
    -->

    <!-- then
    assert page.version == 2
    -->

A sample that can't run says why: ``<!-- not run: needs Celery -->``. A template has its
name in a comment in the first line: ``{# shop/order.html #}``.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import django
import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.db.models.signals import class_prepared
from django.test.utils import isolate_apps, modify_settings, override_settings

ROOT = Path(__file__).parents[2]
MODULE = "samples.models"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
BLOCK = re.compile(
    r"^<!-- (?P<kind>given\n|then\n|not run:)(?P<said>.*?)-->$"
    r"|^```python\n(?P<code>.*?)^```$"
    r"|^```.*?^```$",
    re.MULTILINE | re.DOTALL,
)


TEMPLATE = re.compile(
    r"^```html\+django\n\{# (?P<name>\S+) #\}\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: What a page is about, and needs as apps besides those of the suite.
APPS = {"crispy_forms": ["crispy_forms", "crispy_bootstrap5"]}


@dataclass(frozen=True)
class Sample:
    """A piece of Python on a page."""

    page: Path
    line: int
    code: str
    why_not: str = ""

    def run(self, names: dict[str, Any]) -> None:
        # An error names the page and the line.
        code = compile("\n" * self.line + self.code, str(self.page), "exec")
        exec(code, names)  # noqa: S102 -- the project's own pages


def samples(page: Path) -> Iterator[Sample]:
    """Yield what runs, and what doesn't, in the order of the page."""
    text, why_not = page.read_text(), ""
    for block in BLOCK.finditer(text):
        if block["kind"] is None and block["code"] is None:
            continue  # in another language
        if block["kind"] == "not run:":
            why_not = block["said"].strip()
            assert why_not, f"{page.name} doesn't say why a sample isn't run"
            continue
        code, start = (
            (block["code"], block.start("code"))
            if block["code"] is not None
            else (block["said"], block.start("said"))
        )
        yield Sample(page, text[:start].count("\n"), textwrap.dedent(code), why_not)
        why_not = ""


@contextmanager
def tables() -> Iterator[None]:
    """Give each model a table as soon as a page declares it."""
    made: dict[str, Any] = {}

    def make(model: Any) -> None:
        table = model._meta.db_table
        with connection.schema_editor() as editor:
            if table in made:  # the page declares it once more, and otherwise
                editor.delete_model(made[table])
            made[table] = model
            editor.create_model(model)

    def wait(sender: Any, **kwargs: Any) -> None:
        # A many-to-many table is made with its model, once that is registered.
        options = sender._meta
        if sender.__module__ == MODULE and not options.auto_created:
            key = (options.app_label, options.model_name)
            options.apps.lazy_model_operation(make, key)

    class_prepared.connect(wait)
    try:
        yield
    finally:
        class_prepared.disconnect(wait)
        with connection.schema_editor() as editor:
            for model in reversed(made.values()):
                editor.delete_model(model)


@contextmanager
def installed(page: Path, folder: Path) -> Iterator[None]:
    """Put the page's templates where Django finds them, and the apps that it needs."""
    text = page.read_text()
    for template in TEMPLATE.finditer(text):
        path = folder / template["name"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(template["text"])
    [engine] = settings.TEMPLATES
    also = [app for name in APPS if name in text for app in APPS[name]]
    with (
        override_settings(
            TEMPLATES=[{**engine, "DIRS": [folder]}],
            CRISPY_ALLOWED_TEMPLATE_PACKS="bootstrap5",
            CRISPY_TEMPLATE_PACK="bootstrap5",
        ),
        modify_settings(INSTALLED_APPS={"append": also}) if also else nullcontext(),
    ):
        yield


def pages_with(test: Any) -> list[Any]:
    found = [page for page in PAGES if test(page)]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in found]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", pages_with(lambda page: any(samples(page))))
def test_the_samples_of_a_page_run(page, monkeypatch, tmp_path):
    module = module_from_spec(ModuleSpec(MODULE, None))
    # Libraries look there for what annotations name.
    monkeypatch.setitem(sys.modules, MODULE, module)
    with (
        installed(page, tmp_path),
        tables(),
        # The example's admin is registered already, and has to be afterwards.
        patch.dict(admin.site._registry, clear=True),
    ):
        for sample in samples(page):
            if sample.why_not:
                ast.parse(sample.code)
            else:
                with isolate_apps("samples") as registry:
                    for label, models in apps.all_models.items():
                        registry.all_models[label].update(models)
                    sample.run(vars(module))
        for model_admin in admin.site._registry.values():
            assert not model_admin.check()


def imports() -> Iterator[Any]:
    for page in PAGES:
        for sample in samples(page):
            for node in ast.walk(ast.parse(sample.code)):
                if isinstance(node, ast.ImportFrom):
                    module = node.module or ""
                    if module.startswith("optilock"):
                        for alias in node.names:
                            yield pytest.param(module, alias.name, id=page.name)


@pytest.mark.parametrize(("module", "name"), [*imports()])
def test_each_name_imported_on_a_page_exists(module, name):
    assert getattr(import_module(module), name) is not None


# Links


def anchors(page: Path) -> set[str]:
    """Return what can stand behind the ``#``, as GitHub and MyST name headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("page", pages_with(lambda page: True))
def test_each_link_within_the_repository_leads_somewhere(page):
    links = re.findall(
        r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)", page.read_text()
    )
    for path, anchor in links:
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert target.is_relative_to(ROOT), path
        if anchor:
            assert anchor[1:] in anchors(target), f"{path}{anchor}"


def test_each_page_is_in_the_index():
    text = (ROOT / "docs/index.md").read_text()
    tree = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    listed = {line for part in tree for line in part.split("\n") if line}
    listed = {line for line in listed if not line.startswith(":")}
    assert listed == {page.stem for page in ROOT.glob("docs/*.md")} - {"index"}


# The reference


#: What people import from. Whatever else there is, is internal.
PUBLIC = [
    "optilock",
    "optilock.admin",
    "optilock.contrib.celery",
    "optilock.contrib.ninja",
    "optilock.contrib.rest_framework",
    "optilock.contrib.spectacular",
    "optilock.contrib.strawberry",
    "optilock.contrib.wagtail",
    "optilock.forms",
    "optilock.http",
    "optilock.http.middleware",
    "optilock.log.admin",
    "optilock.log.apps",
    "optilock.log.models",
    "optilock.operations",
    "optilock.panel",
    "optilock.routers",
    "optilock.signals",
    "optilock.testing",
    "optilock.views",
    "optilock.watching",
]


def assigned_names(node: ast.stmt) -> list[str]:
    """Return what a statement at the top of a module defines, but for imports."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return list(map(ast.unparse, targets))


def body_of(module: str) -> list[ast.stmt]:
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text()).body


def names_in_all(module: str) -> list[str] | None:
    """Return a module's ``__all__``, without importing it."""
    found = [node for node in body_of(module) if "__all__" in assigned_names(node)]
    if not found:
        return None
    [once] = found
    return list(ast.literal_eval(once.value))


def test_each_module_says_what_others_may_import():
    modules = {
        ".".join((ROOT / "optilock" / file).relative_to(ROOT).with_suffix("").parts)
        for file in MODULES
        if "migrations/" not in file
        and (not file.endswith("__init__.py") or (ROOT / "optilock" / file).read_text())
    }
    modules = {module.removesuffix(".__init__") for module in modules}
    assert not [name for name in modules if names_in_all(name) is None]
    for module in modules - {
        "optilock.templatetags.optilock"
    }:  # its tags are for pages
        names = {
            name
            for node in body_of(module)
            # Type variables and loggers are each module's own.
            if not re.search(r"= (TypeVar|ParamSpec|logging)\b", ast.unparse(node))
            for name in assigned_names(node)
        }
        names = {name for name in names if not name.startswith("_")}
        assert names <= {*(names_in_all(module) or ())}, module


@pytest.mark.parametrize("module", PUBLIC)
def test_what_is_public_is_in_the_reference_and_the_other_way_round(module):
    reference = (ROOT / "docs/api.md").read_text()
    documented = re.findall(
        rf"^\.\. auto(?!module)\w+:: {re.escape(module)}\.(\w+)$",
        reference,
        re.MULTILINE,
    )
    assert len(documented) == len(set(documented))
    assert documented
    assert set(documented) == set(names_in_all(module) or ())


def test_nothing_else_is_in_the_reference():
    reference = (ROOT / "docs/api.md").read_text()
    named = re.findall(r"^\.\. auto(?!module)\w+:: (\S+)$", reference, re.MULTILINE)
    assert {name.rpartition(".")[0] for name in named} == set(PUBLIC)


@pytest.mark.parametrize("module", PUBLIC)
def test_what_is_public_is_there(module):
    names = names_in_all(module) or ()
    assert all(hasattr(import_module(module), name) for name in names)


# System checks


def test_each_system_check_is_on_the_page_and_no_other():
    in_code: set[str] = set()
    for module in MODULES:
        code = (ROOT / "optilock" / module).read_text()
        in_code |= set(re.findall(r'"(optilock\.[EW]\d{3})"', code))
    page = (ROOT / "docs/checks.md").read_text()
    on_page = re.findall(r"^\| `(optilock\.[EW]\d{3})` \|", page, re.MULTILINE)
    assert sorted(in_code) == sorted(on_page)


# What of Django's own insides is used


def private_names_of_django() -> set[str]:
    """Return names with an underscore that Django gives to methods and attributes."""
    root = Path(django.__file__).parent
    found: set[str] = set()
    for folder in ("db", "forms", "contrib/admin", "contrib/messages", "core/handlers"):
        for file in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    found.add(node.name)
                elif isinstance(node, ast.Attribute) and isinstance(
                    node.ctx, ast.Store
                ):
                    found.add(node.attr)
                elif isinstance(node, ast.ClassDef):
                    found |= {
                        target.id
                        for statement in node.body
                        if isinstance(statement, ast.Assign)
                        for target in statement.targets
                        if isinstance(target, ast.Name)
                    }
    return {name for name in found if re.fullmatch(r"_[a-z]\w*", name)}


def names_used(file: Path) -> set[str]:
    """Return the names by which a module reads, sets or overrides attributes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # getattr(), vars(...)[...]
        elif isinstance(node, ast.ClassDef):
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {s.name for s in node.body if isinstance(s, functions)}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found


#: Our own names that something unrelated in Django has as well.
OURS = {"_check_exclude", "_lock", "_post", "_values"}

ROWS = re.findall(
    r"^\| (`[^|]+) \| (`[^|]+) \| [^|]+ \| (?:none|`([\w/]+\.py)::(\w+)`) \|$",
    (ROOT / "docs/internals.md").read_text(),
    re.MULTILINE,
)
IN_TABLE = {name for names, *_ in ROWS for name in re.findall(r"`(\w+)", names)}
MODULES = [
    str(file.relative_to(ROOT / "optilock")) for file in ROOT.glob("optilock/**/*.py")
]


def in_(place: str) -> list[Path]:
    """Return a module, or the modules of a room, which may be one or a folder."""
    path = ROOT / "optilock" / place
    if path.suffix:
        return [path]
    return [*path.rglob("*.py")] or [path.with_suffix(".py")]


def test_each_private_name_of_django_that_is_used_stands_in_the_table():
    used = set().union(*(names_used(ROOT / "optilock" / module) for module in MODULES))
    missing = (used & private_names_of_django()) - OURS - IN_TABLE
    assert not missing, "docs/internals.md has to say what these are used for"


@pytest.mark.parametrize(
    ("names", "modules", "file", "test"),
    [pytest.param(*row, id=row[0]) for row in ROWS],
)
def test_a_row_of_the_table_names_what_exists(names, modules, file, test):
    files = [
        file for place in re.findall(r"`([\w/.]+)`", modules) for file in in_(place)
    ]
    used = set().union(*(names_used(file) for file in files))
    for name in re.findall(r"`(\w+)", names):
        assert name in used, name
    if test:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text()
