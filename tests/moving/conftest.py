"""Projects with another lock, each in a folder and a database of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs/moving.md").read_text()
NUMBERS = count()
#: The module that each needs, and the Djangos on which it doesn't run.
NEEDED = {"concurrent": "concurrency", "optimistic": "ool"}


IMPORTS = "from shop.models import *\nfrom django.db import connection\n"


class Project:
    """A project, before and after it is moved.

    Attributes:
        folder: where it is.
        database: its settings.
    """

    def __init__(self, source, folder, database):
        self.folder = folder
        self.database = database
        shutil.copytree(source, folder)

    def beside(self):
        """Return a copy of it that uses the same database."""
        folder = self.folder.with_name(f"{self.folder.name}_beside")
        return Project(self.folder, folder, self.database)

    @property
    def environment(self):
        """That of its processes."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name != "DJANGO_SETTINGS_MODULE"
        }
        return inherited | {"MOVING_DATABASE": json.dumps(self.database)}

    def run(self, *arguments, status=0):
        """Run Python in its folder, and return what it says."""
        done = subprocess.run(  # noqa: S603 -- our own interpreter
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        return said

    def manage(self, *arguments, status=0):
        return self.run("manage.py", *arguments, status=status)

    def do(self, code):
        """Run some lines with the models at hand."""
        return self.manage("shell", "-v0", "-c", IMPORTS + code)

    def prepare(self, rows=""):
        """Make its first migrations, its tables, and rows; all in one process."""
        self.do(
            "from django.core.management import call_command\n"
            "call_command('makemigrations', verbosity=0)\n"
            "call_command('migrate', verbosity=0)\n" + rows
        )

    def start(self, code):
        """Do the same, without waiting."""
        return subprocess.Popen(  # noqa: S603 -- our own interpreter
            [sys.executable, "manage.py", "shell", "-v0", "-c", IMPORTS + code],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def as_documented(self, section):
        """Run the commands of a section of the page."""
        said = ""
        for command in commands(section):
            if command.startswith("python "):
                said += self.run(*command.split()[1:])
            else:
                assert command == 'pip install "optilock[move]"'
        return said

    def keep(self):
        """Keep its files as they are, to come back to them."""
        self.kept = self.folder.with_name(f"{self.folder.name}_before")
        shutil.copytree(self.folder, self.kept)
        return self.kept

    def go_back(self):
        """Be again what was kept."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)

    def files(self):
        return {
            str(path.relative_to(self.folder)): path.read_text()
            for path in sorted(self.folder.rglob("*.py"))
        }


def commands(section):
    """Return the commands of a section, in their order."""
    text = PAGE[PAGE.index(f"## {section}\n") :]
    end = re.search(r"^#{2,3} ", text[3:], re.MULTILINE)
    text = text[: end.start() + 3] if end else text
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.strip().split("\n")]


@pytest.fixture
def make_project(tmp_path, transactional_db):
    """Return a function that makes one of the projects, by the name of its folder."""
    made = []

    def make(template):
        needed = NEEDED.get(template)
        if needed and not find_spec(needed):
            pytest.skip(f"{needed} is not installed")
        name = f"optilock_moving_{os.getpid()}_{next(NUMBERS)}"
        database = {**settings.DATABASES["default"], "NAME": name}
        database.pop("TEST", None)
        if connection.vendor == "sqlite":
            database["NAME"] = str(tmp_path / f"{name}.sqlite3")
        else:
            made.append(name)
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name}")
        kept = ("ENGINE", "NAME", "HOST", "USER", "PASSWORD", "OPTIONS")
        database = {key: database[key] for key in kept if key in database}
        return Project(HERE / template, tmp_path / name, database)

    yield make
    for name in made:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")
