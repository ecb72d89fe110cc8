"""The code in README.md and docs/ is code, and names what exists."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
SAMPLES = [
    pytest.param(sample, id=f"{page.name}:{number}")
    for page in PAGES
    for number, sample in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S), 1
    )
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_sample_is_python_and_imports_what_exists(sample):
    for node in ast.walk(ast.parse(sample)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "optilock"
        ):
            module = import_module(node.module)
            for alias in node.names:
                assert getattr(module, alias.name) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_within_the_repository_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
