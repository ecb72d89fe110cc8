"""What the command makes of each piece of source, and what it leaves to a person."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from runpy import run_module
from textwrap import dedent

import pytest
from django.core.management import CommandError, call_command

command = pytest.importorskip("optilock.moving.command", reason="needs libcst")

INITIAL = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = []
    operations = []
"""


class Moved:
    """What became of a project of a few files."""

    def __init__(self, root, status, said):
        self.root = root
        self.status = status
        self.said = said
        self.left = [line for line in said if ": left for you: " in line]
        self.notes = [text for _, note, text in map(split_note, said) if note]

    def __getitem__(self, name):
        return (self.root / name).read_text()

    @property
    def models(self):
        return self["shop/models.py"]

    @property
    def migration(self):
        return self["shop/migrations/0002_optilock_move.py"]


def split_note(line):
    return line.partition(": note: ")


def plain(text):
    """Return lines that were indented to be read here."""
    return dedent(text).lstrip("\n")


@pytest.fixture
def move(tmp_path):
    """Write files, move them, and tell what became of them."""

    def run(files, *, write=True, **options):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(text, bytes):
                path.write_bytes(text)
            else:
                path.write_text(plain(text))
        said = []
        status = command.run(tmp_path, said.append, write=write, **options)
        return Moved(tmp_path, status, said)

    return run


HEAD = """
from concurrency.fields import AutoIncVersionField, ConditionalVersionField
from concurrency.fields import TriggerVersionField
from django.db import models

"""


#: A model as most are.
COUNTED = "class A(models.Model):\n    version = AutoIncVersionField()\n"


def base(field):
    """Return an abstract model."""
    return f"""
class Base(models.Model):
    {field}

    class Meta:
        abstract = True
"""


def models(text=COUNTED, **more):
    """A project with one app."""
    text = HEAD.lstrip("\n") + text
    return {"shop/models.py": text, "shop/migrations/0001_initial.py": INITIAL, **more}


# Fields


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AutoIncVersionField()", "IntegerVersionField()"),
        ("AutoIncVersionField(default=3, null=True)", "IntegerVersionField()"),
        (
            'AutoIncVersionField(db_column="v", editable=False)',
            'IntegerVersionField(db_column="v")',
        ),
        (
            'AutoIncVersionField(help_text="h", verbose_name="n")',
            'IntegerVersionField(help_text="h", verbose_name="n")',
        ),
        (
            'AutoIncVersionField(help_text="record revision number")',
            "IntegerVersionField()",
        ),
        ("ConditionalVersionField()", "IntegerVersionField()"),
        (
            'AutoIncVersionField(\n        db_column="v",  # as ever\n    )',
            'IntegerVersionField(\n        db_column="v",  # as ever\n    )',
        ),
    ],
)
def test_a_field(move, old, new):
    moved = move(models(f"class A(models.Model):\n    version = {old}\n"))
    assert f"    version = {new}\n" in moved.models
    assert moved.status == 0, moved.said
    assert "concurrency" not in moved.models


def test_what_a_column_was_is_in_its_migration(move):
    text = "class A(models.Model):\n    version = VersionField({})\n"
    head = "from ool import VersionField\n"
    moved = move(models(head + text.format("db_index=True, null=True")))
    was = "was=models.PositiveIntegerField(default=0, null=True, db_index=True)"
    assert was in moved.migration


@pytest.mark.parametrize(
    "field",
    [
        "ool.VersionField('n', 'name')",
        "ool.VersionField(**OPTIONS)",
        "AutoIncVersionField(*NAMES)",
    ],
)
def test_a_field_with_arguments_that_have_no_name_is_left(move, field):
    text = f"import ool\n\nclass A(models.Model):\n    version = {field}\n"
    moved = move(models(text))
    assert "with arguments that have no name" in moved.left[0]
    assert moved.status == move({}).status == 1


def test_what_becomes_of_a_fields_own_arguments_is_told(move):
    given = (
        "('nth', db_index=True, default=3,\n"
        "        null=True,  # once it was\n"
        "        help_text='h')"
    )
    moved = move(
        models(f"""
import ool

class A(models.Model):
    version = AutoIncVersionField{given}

class B(models.Model):
    version = ool.VersionField{given}
""")
    )
    assert "version = IntegerVersionField(help_text='h')" in moved.models
    new = "version = IntegerVersionField('nth', db_index=True, help_text='h')"
    assert new in moved.models
    effect = "it had no effect, or optilock sees to it"
    comment = "this comment goes with what it stood at: # once it was"
    assert moved.notes == [
        f"the field loses 'nth', db_index=True, default=3, null=True: {effect}",
        comment,
        f"the field loses default=3, null=True: {effect}",
        comment,
    ]
    assert moved.status == 0


def test_the_arguments_of_a_field_that_leaves_some_out_are_in_its_migration(move):
    moved = move(
        models("""
from django.utils.translation import gettext_lazy as _

class A(models.Model):
    version = ConditionalVersionField(verbose_name=_("N"), db_column="c", default=1)
    a = models.IntegerField()

    class ConcurrencyMeta:
        ignore_fields = ["a"]
""")
    )
    given = 'verbose_name="N", db_column="c", exclude=["a"]'
    assert f"field=optilock.IntegerVersionField({given})" in moved.migration


@pytest.mark.parametrize(
    ("meta", "excluded"),
    [
        ('check_fields = ["a"]', '["b", "c"]'),
        ('ignore_fields = ["a", "c"]', '["a", "c"]'),
    ],
)
def test_a_lock_on_some_fields(move, meta, excluded):
    moved = move(
        models(f"""
class A(models.Model):
    key = models.CharField(primary_key=True, max_length=9)
    version = ConditionalVersionField()
    a = models.IntegerField()
    b: int = models.IntegerField()
    c = models.ForeignKey("A", models.CASCADE)
    many = models.ManyToManyField("A")
    limit = 3

    class ConcurrencyMeta:
        {meta}
""")
    )
    text = moved.models
    assert f"version = IntegerVersionField(exclude={excluded})" in text
    assert "ConcurrencyMeta" not in text
    assert f"exclude={excluded}" in moved.migration
    assert moved.status == 0


@pytest.mark.parametrize(
    ("base", "meta"),
    [
        ("Other", 'check_fields = ["a"]'),
        ("models.Model", "check_fields = FIELDS"),
        ("models.Model", "ignore_fields = FIELDS"),
        ("models.Model", "enabled = False"),
    ],
)
def test_a_lock_on_fields_that_cannot_be_told_is_left(move, base, meta):
    moved = move(
        models(f"""
class A({base}):
    version = ConditionalVersionField()
    a = models.IntegerField()

    class ConcurrencyMeta:
        {meta}
""")
    )
    assert "which fields it leaves out" in moved.left[0]
    assert "ConcurrencyMeta" in moved.models


# Triggers


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ("", 'class Meta:\n        constraints = [VersionTrigger(name="shop_a_v", '),
        ("    class Meta:\n        pass\n", '    constraints = [VersionTrigger(name="'),
        (
            '    class Meta:\n        db_table = "t"\n',
            'db_table = "t"\n        constraints = [VersionTrigger(name="shop_a_v"',
        ),
        (
            "    class Meta:\n        constraints = [one]\n",
            'constraints = [one, VersionTrigger(name="shop_a_v", field="v")]',
        ),
    ],
)
def test_a_trigger_is_declared(move, meta, expected):
    moved = move(
        models(
            f"class A(models.Model):\n    v = TriggerVersionField()\n{meta}\n"
            "    def __str__(self):\n        return ''\n"
        )
    )
    assert expected in moved.models
    assert moved.status == 0
    assert 'optilock.VersionTrigger(name="shop_a_v", field="v")' in moved.migration
    assert 'RemoveTrigger("a", "v")' in moved.migration


def test_constraints_that_are_not_a_list_are_left(move):
    moved = move(
        models("""
class A(models.Model):
    version = TriggerVersionField()

    class Meta:
        constraints = tuple(ONES)
""")
    )
    assert "add VersionTrigger" in moved.left[0]


BASE = """
class Base(models.Model):
    class Meta{bases}:
        abstract = True{constraints}

class A(Base):
    version = TriggerVersionField()

    class Meta({above}.Meta):
        verbose_name = "a"
"""
OTHERS = "\n        constraints = [one]"
TRIGGER = 'VersionTrigger(name="shop_a_version")'


@pytest.mark.parametrize(
    ("bases", "above", "constraints", "expected"),
    [
        ("", "Base", "", f"constraints = [{TRIGGER}]"),
        ("", "Base", OTHERS, f"constraints = [*Base.Meta.constraints, {TRIGGER}]"),
        ("(Top)", "Base", OTHERS, f"constraints = [*Base.Meta.constraints, {TRIGGER}]"),
        ("(Top)", "Base", "", f"# optilock_move: add {TRIGGER} to its constraints"),
        ("", "Else", "", f"# optilock_move: add {TRIGGER} to its constraints"),
    ],
)
def test_a_trigger_joins_the_constraints_that_are_inherited(
    move, bases, above, constraints, expected
):
    text = BASE.format(bases=bases, above=above, constraints=constraints)
    moved = move(models(text))
    assert expected in moved.models
    is_left = expected.startswith("#")
    assert (moved.status, bool(moved.left)) == (is_left, is_left)


def test_a_trigger_is_declared_where_that_of_the_abstract_model_is_not_inherited(move):
    moved = move(
        models(
            base("v = TriggerVersionField()")
            + """
class A(Base):
    class Meta:
        verbose_name = "a"

class B(Base):
    class Meta(Base.Meta):
        verbose_name = "b"

class C(Base):
    class Meta(Base.Meta):
        constraints = [one]
"""
        )
    )
    text = moved.models
    names = ["%(app_label)s_%(class)s_v", "shop_a_v", "shop_c_v"]
    for name in names:
        assert text.count(f'VersionTrigger(name="{name}", field="v")') == 1
    assert text.count("VersionTrigger(") == len(names)
    assert moved.migration.count("optilock.VersionTrigger(") == 3


def test_a_trigger_joins_the_constraints_of_a_base_that_is_not_the_first(move):
    bases = "class Other:\n    pass\n" + BASE.replace("A(Base)", "A(Other, Base)")
    text = bases.format(bases="", above="Base", constraints=OTHERS)
    moved = move(models(text))
    assert f"constraints = [*Base.Meta.constraints, {TRIGGER}]" in moved.models
    assert moved.status == 0


def test_a_trigger_that_is_declared_already_is_not_declared_again(move):
    text = """
import optilock

class A(models.Model):
    version = TriggerVersionField()

    class Meta:
        constraints = [optilock.VersionTrigger(name="own")]
"""
    moved = move(models(text))
    assert moved.status == 0
    assert moved.models.count("VersionTrigger(") == 1
    assert "AddConstraint" not in moved.migration
    assert 'RemoveTrigger("a", "version")' in moved.migration


def test_a_trigger_of_an_abstract_model_has_a_name_for_each(move):
    moved = move(
        models(
            base("version = TriggerVersionField()")
            + """
class A(Base):
    pass

class B(Base):
    pass
"""
        )
    )
    assert '"%(app_label)s_%(class)s_version"' in moved.models
    for name in ("shop_a_version", "shop_b_version"):
        assert f'VersionTrigger(name="{name}")' in moved.migration


# Which models, and where their migrations are


def test_only_tables_of_their_own_are_taken_over(move):
    moved = move(
        models(
            base("version = AutoIncVersionField()")
            + """
class A(Base):
    pass

class Child(A):
    pass

class Proxy(A):
    class Meta:
        proxy = True

if True:
    class Other(Base):
        pass
"""
        )
    )
    assert moved.migration.count("AdoptVersion(") == 2
    assert 'AdoptVersion("a", "version", was=models.BigIntegerField(' in moved.migration


def test_a_table_that_has_its_parent_s_version_is_left_to_the_parent_s(move):
    moved = move(
        models(
            base("version = AutoIncVersionField()")
            + """
class A(Base):
    pass

class Child(A, Base):
    pass
"""
        )
    )
    assert moved.status == 0
    assert moved.migration.count("AdoptVersion(") == 1
    assert 'AdoptVersion("a", ' in moved.migration


def test_only_the_table_that_is_somebody_else_s_is_marked(move):
    text = "\n    class Meta:\n        managed = False\n\nclass B(models.Model):\n"
    moved = move(models(f"{COUNTED}{text}    version = AutoIncVersionField()\n"))
    assert moved.models.count("# optilock_move: A isn't managed") == 1
    assert moved.models.count("# optilock_move: ") == 1
    assert 'AdoptVersion("b", ' in moved.migration


def test_names_that_two_apps_have(move):
    moved = move(
        {
            **models(
                base("version = AutoIncVersionField()")
                + """
class A(Base):
    pass
"""
            ),
            "stock/models.py": """
                from django.db import models
                from shop.models import Base as Counted

                class Base(models.Model):
                    class Meta:
                        abstract = True

                class B(Base):
                    pass

                class C(Counted):
                    pass
            """,
            "stock/migrations/0007_initial.py": INITIAL,
        }
    )
    migration = moved["stock/migrations/0008_optilock_move.py"]
    assert migration.count("AdoptVersion(") == 1
    assert 'AdoptVersion("c"' in migration
    assert moved.status == 0


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("managed = False", "isn't managed"),
        ('app_label = "other"', "is of the app 'other'"),
    ],
)
def test_a_table_that_is_somebody_else_s_is_left(move, meta, message):
    moved = move(
        models(f"""
class A(models.Model):
    version = AutoIncVersionField()

    class Meta:
        {meta}
""")
    )
    assert message in moved.left[0]
    assert not (moved.root / "shop/migrations/0002_optilock_move.py").exists()


def test_an_app_by_another_label(move):
    config = 'class Shop(AppConfig):\n    label = "s"\n'
    moved = move(models(**{"shop/apps.py": config}))
    assert '[("s", "0001_initial")]' in moved.migration


@pytest.mark.parametrize("end", ["x = (", "if 1:\n        a\n    b"])
def test_what_was_left_in_an_unfinished_file_is_told(move, end):
    moved = move({"shop/models.py": f"# optilock_move: do it\n{end}\n"})
    assert moved.status == 1
    assert "do it" in moved.left[0]
    assert "isn't Python" in moved.left[-1]


@pytest.mark.parametrize(
    "config",
    [
        "class Shop(AppConfig):\n    name = 'shop'\n",
        "from django.apps import AppConfig\n",
    ],
)
def test_an_app_without_a_label_is_called_as_its_folder_is(move, config):
    moved = move(models(**{"shop/apps.py": config}))
    assert '[("shop", "0001_initial")]' in moved.migration


def test_an_app_without_migrations_is_left(move):
    files = models()
    del files["shop/migrations/0001_initial.py"]
    moved = move(files)
    assert "the app 'shop', which has no migrations" in moved.left[0]
    assert moved.status == move({}).status == move({}).status == 1
    comment = "# optilock_move: A is of the app"
    assert moved.models.count(comment) == 1
    lines = moved.models.split("\n")
    text = "\n".join(line for line in lines if not line.startswith(comment))
    assert move({"shop/models.py": text}).status == 0


def test_a_model_that_was_left_is_taken_over_by_a_later_run(move):
    passed = "from concurrency.fields import AutoIncVersionField as Own\n"
    moved = move(
        models(
            **{
                "shop/fields.py": passed,
                "shop/more.py": "from shop.fields import Own\n"
                "from django.db import models\n\n"
                "class B(models.Model):\n    version = Own()\n",
            },
        )
    )
    assert 'AdoptVersion("a"' in moved.migration
    assert "others import Own from here" in moved.left[0]
    more = moved["shop/more.py"].replace("from shop.fields import Own\n", passed)
    moved = move({"shop/fields.py": "", "shop/more.py": more})
    assert moved.status == 0, moved.said
    migration = moved["shop/migrations/0003_optilock_move.py"]
    assert 'AdoptVersion("b"' in migration
    assert 'AdoptVersion("a"' not in migration
    assert '[("shop", "0002_optilock_move")]' in migration


def test_an_app_with_two_last_migrations_is_left(move):
    files = models()
    files["shop/migrations/0002_a.py"] = files["shop/migrations/0001_initial.py"]
    files["shop/migrations/0003_b.py"] = INITIAL.replace(
        "[]", '[("shop", "0002_a")]', 1
    )
    moved = move(files)
    assert "has 2 last migrations" in moved.left[0]
    # Else the next run wouldn't know the tables.
    assert moved.models == files["shop/models.py"]


def test_what_was_squashed_is_no_last_migration(move):
    def migration(**names):
        lines = [
            f"    {name} = {[('auth', '0003_c'), *(('shop', one) for one in values)]}\n"
            for name, values in names.items()
        ]
        return "class Migration:\n" + "".join(lines)

    moved = move(
        models(
            **{
                "shop/migrations/0002_b.py": migration(dependencies=["0001_initial"]),
                "shop/migrations/0001_squashed_0002.py": migration(
                    replaces=["0001_initial", "0002_b"]
                ),
                "shop/migrations/0003_c.py": migration(dependencies=["0002_b"]),
            },
        )
    )
    assert moved.status == 0
    assert '("shop", "0003_c")' in moved["shop/migrations/0004_optilock_move.py"]


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (
            "class Own(AutoIncVersionField):\n    pass\n",
            "Own is a version field of your own",
        ),
        (
            'Group.add_to_class("version", AutoIncVersionField())\n',
            "no class at the top",
        ),
        (
            "class A(Base):\n    class ConcurrencyMeta:\n        check_fields = []\n",
            "for a field that another class has",
        ),
        ("A._concurrencymeta.enabled = False\n", "_concurrencymeta is gone"),
    ],
)
def test_a_version_that_is_not_plainly_a_models_is_left(move, code, hint):
    assert hint in move(models(code)).left[0]


def test_a_model_that_depends_on_what_is_installed(move):
    moved = move(
        models("""
try:
    import extra
except ImportError:
    class A(models.Model):
        version = AutoIncVersionField()
else:
    class B(models.Model):
        version = AutoIncVersionField()
""")
    )
    text = moved.migration
    assert 'AdoptVersion("a", ' in text
    assert 'AdoptVersion("b", ' in text


def test_the_ends_of_lines_stay(move):
    text = b"from ool import VersionField\r\nx = 1\r\n\r\nVersionField\r\n"
    moved = move({"a.py": text})
    new = (moved.root / "a.py").read_bytes()
    assert b"IntegerVersionField" in new
    assert new.count(b"\n") == new.count(b"\r\n") == 5


def test_a_title_is_not_a_field(move):
    moved = move(
        models(
            **{
                "shop/admin.py": """
                from concurrency.admin import ConcurrentModelAdmin

                class AAdmin(ConcurrentModelAdmin):
                    fieldsets = [("version", {"fields": ["name", "version"]})]
                """
            },
        )
    )
    assert '[("version", {"fields": ["name"]})]' in moved["shop/admin.py"]


def test_what_else_an_admin_class_has_stays(move):
    text = """
class AAdmin(ConcurrentModelAdmin):
    \"\"\"Orders.\"\"\"

    list_editable = ["version"]
    fieldsets = [("A", {"classes": ["version"], "fields": ["version", "name"]})]

    def name(self, a):
        return a.name
"""
    imports = "from concurrency.admin import ConcurrentModelAdmin\n"
    moved = move(models(**{"shop/admin.py": imports + text}))
    new = text.replace("Concurrent", "Versioned").replace('["version"]\n', "[]\n")
    new = new.replace('["version", "name"]', '["name"]')
    assert moved["shop/admin.py"].partition("Admin\n")[2] == new
    assert moved.status == 0


def test_what_is_taken_out_is_not_marked(move):
    text = """
        from concurrency.admin import ConcurrentModelAdmin
        from django.forms import modelform_factory
        from shop.models import A

        class AAdmin(ConcurrentModelAdmin):
            check_concurrent_action = modelform_factory(A)
            name = "a"
    """
    moved = move(models(**{"shop/admin.py": text}))
    assert "modelform_factory() makes a form" in moved.left[0]
    assert "check_concurrent_action" not in moved["shop/admin.py"]
    assert "# optilock_move" not in moved["shop/admin.py"]


# Names


def test_names_by_each_way_of_importing_them(move):
    moved = move(
        {
            "a.py": """
                import concurrency.api
                import concurrency.exceptions as e, os
                from concurrency import exceptions
                from concurrency.exceptions import RecordModifiedError as Changed

                a = e.RecordModifiedError, exceptions.RecordModifiedError, Changed
                with concurrency.api.disable_concurrency(models.Order):
                    pass
            """
        }
    )
    assert moved["a.py"] == plain("""
        import os
        from optilock import RecordModifiedError, unlocked

        a = RecordModifiedError, RecordModifiedError, RecordModifiedError
        with unlocked(models.Order):
            pass
    """)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("from concurrency.api import is_changed\nis_changed(1)", "object.is_stale()"),
        ("from concurrency.api import *", "hides what is used"),
        ("import concurrency\nconcurrency.VERSION", "has no counterpart"),
        (
            "from ool import VersionedMixin\nisinstance(1, VersionedMixin)",
            "than a base",
        ),
        (
            "from concurrency.api import disable_concurrency as off\noff",
            'save(on_conflict="overwrite")',
        ),
        (
            "from concurrency.api import disable_concurrency as off\noff(A).start()",
            'save(on_conflict="overwrite")',
        ),
        (
            "from concurrency.api import disable_concurrency as off\na = off(A)",
            'save(on_conflict="overwrite")',
        ),
        (
            "from concurrency.api import disable_concurrency as off\nwith off(*a): 1",
            'save(on_conflict="overwrite")',
        ),
        ("# ool\ndef (", "isn't Python that can be read"),
        (b"# concurrency \xff", "can't be read: invalid or missing encoding"),
        (b"# coding: nonsense\n# concurrency", "can't be read: unknown encoding"),
        (b"# coding: ascii\n# concurrency \xe9", "can't be read: 'ascii' codec"),
    ],
)
def test_what_is_left_is_named_with_its_line(move, code, hint):
    moved = move({"a.py": code})
    assert moved.status == 1
    assert hint in moved.left[0]
    assert moved.left[0].startswith(f"{moved.root}/a.py:")
    if isinstance(code, str):
        assert moved["a.py"] == code


def test_a_method_of_theirs_is_left(move):
    moved = move({"a.py": "# ool\nx.get_version_field()"})
    assert "a function of optilock" in moved.left[0]
    text = moved["a.py"]
    assert text.startswith("# ool\n# optilock_move: get_version_field() is a function")
    assert move({}).status == 1
    assert moved["a.py"] == text


def test_nothing_is_changed_before_a_star_is_written_out(move):
    files = models()
    files["shop/other.py"] = "from concurrency.fields import *\n"
    moved = move(files)
    assert moved.status == 1
    assert moved.models == files["shop/models.py"]
    assert not (moved.root / "shop/migrations/0002_optilock_move.py").exists()


def test_a_name_that_is_passed_on_by_a_star_is_left(move):
    text = "from concurrency.exceptions import RecordModifiedError\n"
    moved = move({"shop/errors.py": text, "shop/a.py": "from shop.errors import *\n"})
    assert "others import RecordModifiedError from here" in moved.left[0]
    assert moved["shop/errors.py"] == text


def test_their_mixin_goes_from_among_the_bases(move):
    text = """
        from ool import VersionedMixin, VersionField

        class A(VersionedMixin, models.Model):
            version = VersionField()
    """
    moved = move({"a.py": text})
    assert "class A(models.Model):" in moved["a.py"]
    assert "from optilock import IntegerVersionField\n" in moved["a.py"]
    assert "ool" not in moved["a.py"]


def test_a_name_that_may_be_something_else_is_left(move):
    text = """
        try:
            from concurrency.fields import AutoIncVersionField
        except ImportError:
            AutoIncVersionField = models.IntegerField

        class A(models.Model):
            version = AutoIncVersionField()
    """
    moved = move({"shop/models.py": text})
    assert moved.models == plain(text)
    [line] = moved.left
    either = "AutoIncVersionField or concurrency.fields.AutoIncVersionField"
    assert line.endswith(f": may be {either}: make it one, and run this again")


def test_our_names_are_written_out_where_they_stand_for_something_else(move):
    moved = move(
        {
            "a.py": """
                from concurrency.api import disable_concurrency
                from concurrency.exceptions import RecordModifiedError

                def repair(unlocked):
                    with disable_concurrency(Order):
                        unlocked.save()

                def other(disable_concurrency):
                    with disable_concurrency(Order):
                        raise RecordModifiedError
            """
        }
    )
    assert moved.status == 0, moved.said
    assert moved["a.py"] == plain("""
        import optilock
        from optilock import RecordModifiedError

        def repair(unlocked):
            with optilock.unlocked(Order):
                unlocked.save()

        def other(disable_concurrency):
            with disable_concurrency(Order):
                raise RecordModifiedError
    """)


def test_a_file_in_its_own_encoding_stays_in_it(move):
    text = "# -*- coding: latin-1 -*-\nfrom ool import VersionField\n"
    text += "VersionField  # d\xe9j\xe0 vu\n"
    moved = move({"a.py": text.encode("latin-1")})
    new = (moved.root / "a.py").read_bytes().decode("latin-1")
    assert "IntegerVersionField  # d\xe9j\xe0 vu\n" in new
    assert moved.status == 0
    other = "\ufefffrom ool import VersionField\nVersionField, '\u4eca'\n"
    new = (move({"b.py": other.encode()}).root / "b.py").read_bytes().decode()
    assert new.startswith("\ufefffrom optilock import IntegerVersionField\n")
    assert "'\u4eca'" in new


def test_comments_that_go_are_told(move):
    moved = move(
        {
            "settings.py": """
                X = 1
                # Who was here?
                CONCURRENCY_POLICY = 1  # raise
                INSTALLED_APPS = ["concurrency"]  # a lock
            """
        }
    )
    assert moved.notes == [
        "this comment goes with what it stood at: # Who was here?",
        "this comment goes with what it stood at: # raise",
    ]
    assert moved["settings.py"] == 'X = 1\nINSTALLED_APPS = ["optilock"]  # a lock\n'


@pytest.mark.parametrize(
    "importing",
    [
        "from shop.errors import RecordModifiedError\n",
        "from .errors import (\n    Other,\n    RecordModifiedError,\n)\n",
    ],
)
def test_a_name_that_is_passed_on_is_left(move, importing):
    text = "from concurrency.exceptions import RecordModifiedError\n"
    moved = move({"shop/errors.py": text, "shop/views.py": importing})
    assert "others import RecordModifiedError from here" in moved.left[0]
    assert moved["shop/errors.py"] == text
    moved = move({"shop/views.py": "from concurrency.errors import Other\n"})
    assert not any("from here" in line for line in moved.left)


def test_what_another_folder_holds_is_not_looked_at(move):
    text = "from concurrency.api import is_changed\nis_changed(1)\n"
    moved = move(
        {
            ".venv/a.py": text,
            "environment/a.py": text,
            "environment/pyvenv.cfg": "",
            "node_modules/a.py": text,
            "relative/a.py": "from .concurrency import fields\nfields.f()\n",
            "talk/a.py": 'print("concurrency")\n',
            "tool/a.py": "def (a tool that isn't Python, and isn't read\n",
        }
    )
    assert (moved.status, len(moved.said)) == (0, 1)
    assert "comes from another lock" in moved.said[0]


def test_old_migrations(move):
    moved = move(
        {
            "shop/migrations/0001_initial.py": """
                import ool
                import concurrency.fields
                from django.db import migrations, models


                class Migration(migrations.Migration):
                    operations = [
                        migrations.CreateModel(
                            "A",
                            [("v", concurrency.fields.AutoIncVersionField(default=0))],
                            bases=(ool.VersionedMixin, models.Model),
                        ),
                        migrations.AddField("B", "v", ool.VersionField(default=0)),
                    ]
            """
        }
    )
    text = moved["shop/migrations/0001_initial.py"]
    assert text.count("optilock.IntegerVersionField()") == 2
    assert "bases=(models.Model,)" in text
    assert "import ool" not in text
    assert "import optilock" in text


# Settings and templates


def test_settings(move):
    moved = move(
        {
            "settings.py": """
                INSTALLED_APPS = ["django", "concurrency.apps.ConcurrencyConfig"]
                MIDDLEWARE = ["concurrency.middleware.ConcurrencyMiddleware"]
                CONCURRENCY_POLICY = 1
                CONCURRENCY_ENABLED = False
            """
        }
    )
    assert moved["settings.py"] == plain("""
        INSTALLED_APPS = ["django", "optilock"]
        MIDDLEWARE = ["optilock.http.middleware.ConflictMiddleware"]
        CONCURRENCY_ENABLED = False
    """)
    assert "there is no switch for all" in moved.left[0]


def test_settings_in_parts(move):
    moved = move(
        {
            "settings.py": """
                THIRD_PARTY_APPS = ["concurrency"]
                INSTALLED_APPS = ["django", *THIRD_PARTY_APPS]
                MIDDLEWARE.append("concurrency.middleware.ConcurrencyMiddleware")
                INSTALLED_APPS.append("shop")
                CONCURRENCY_OTHER = 1  # the project's own
            """,
            "tests.py": """
                @override_settings(CONCURRENCY_ENABLED=False, CONCURRENCY_POLICY=1)
                def test():
                    pass
            """,
        }
    )
    assert 'THIRD_PARTY_APPS = ["optilock"]' in moved["settings.py"]
    assert [line.partition(": left for you: ")[2] for line in moved.left] == [
        'write "optilock.http.middleware.ConflictMiddleware" into MIDDLEWARE',
        "CONCURRENCY_ENABLED: there is no switch for all; see unlocked()",
        "CONCURRENCY_POLICY: optilock has no such setting",
    ]


def test_optilock_is_installed_once(move):
    moved = move(
        {
            "settings.py": 'INSTALLED_APPS = ["optilock"]\n'
            'INSTALLED_APPS += ["concurrency", "optilock"]\n'
        }
    )
    assert 'INSTALLED_APPS += ["optilock"]' in moved["settings.py"]


def test_templates(move):
    moved = move(
        {
            "templates/a.html": "{% load i18n %}\n{% load concurrency %}\n",
            "node_modules/a.html": "{% load concurrency %}\n",
        }
    )
    assert [line.partition(": left")[0] for line in moved.left] == [
        f"{moved.root}/templates/a.html:2"
    ]


# Forms and views


def test_what_drops_the_version_is_left(move):
    files = models(
        **{
            "shop/api.py": """
                from rest_framework import serializers
                from shop.models import A

                class ASerializer(serializers.ModelSerializer):
                    class Meta:
                        model = A
            """,
        },
    )
    moved = move(files)
    assert "ASerializer no longer has the version" in moved.left[0]
    assert "\n# optilock_move: ASerializer no longer" in moved["shop/api.py"]
    for _ in range(2):
        again = move({})
        assert again.status == 1
        assert "ASerializer no longer has the version" in again.left[0]
    assert moved["shop/api.py"].count("# optilock_move") == 1
    assert move(files, editable=True).status == 0
    made = "from shop.models import A\nfrom django.forms import modelform_factory\n"
    files["shop/forms.py"] = f"{made}modelform_factory(A, fields=[])\n"
    assert "modelform_factory() makes a form" in move(files).left[1]
    mixed = files["shop/api.py"].replace("ModelSerializer)", "ModelSerializer, Mixin)")
    moved = move(files | {"shop/api.py": mixed})
    assert "ASerializer no longer has the version" in moved.left[0]


def test_what_keeps_the_lock_is_not_left(move):
    text = """
        from concurrency.forms import ConcurrentForm
        from django.forms import modelform_factory
        from django.views.generic import ListView
        from shop.models import A, Other

        class AForm(ConcurrentForm):
            class Meta:
                model = A

        class AList(ListView):
            model = A

        class ATable(Table):
            class Meta:
                model = A

        OtherForm = modelform_factory(Other, fields=[])
    """
    moved = move(models(**{"shop/views.py": text}))
    assert (moved.status, moved.left) == (0, [])
    assert "class AForm(VersionedModelForm):" in moved["shop/views.py"]


# The command itself


def test_a_dry_run_shows_and_changes_nothing(move):
    files = {"a.py": "from ool import ConcurrentUpdate\n\nerror = ConcurrentUpdate\n"}
    moved = move(files, write=False)
    assert moved["a.py"] == files["a.py"]
    assert "-from ool import ConcurrentUpdate" in moved.said
    assert "+error = RecordModifiedError" in moved.said
    assert "Run it with --write" in moved.said[-1]


def test_the_folder_of_an_app(tmp_path, monkeypatch):
    folder = tmp_path / "shop"
    (folder / "migrations").mkdir(parents=True)
    (folder / "migrations/0001_initial.py").write_text(INITIAL)
    (folder / "models.py").write_text(HEAD + COUNTED)
    monkeypatch.chdir(folder)
    assert command.main(["--write"]) == 0
    text = (folder / "migrations/0002_optilock_move.py").read_text()
    assert '("shop", "0001_initial")' in text


def test_a_folder_that_is_not_there(tmp_path):
    said = []
    assert command.run(tmp_path / "missing", said.append, write=True) == 2
    assert "isn't a folder" in said[0]


def test_the_management_command_is_the_same(tmp_path):
    out = StringIO()
    call_command("optilock_move", str(tmp_path), stdout=out)
    assert "comes from another lock" in out.getvalue()
    (tmp_path / "a.py").write_text("from concurrency.api import *\n")
    with pytest.raises(SystemExit) as caught:
        call_command("optilock_move", str(tmp_path), stdout=out)
    assert caught.value.code == 1


def test_it_runs_without_a_project(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 0
    assert "comes from another lock" in capsys.readouterr().out
    done = subprocess.run(
        [sys.executable, "-m", "optilock.moving", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--editable" in done.stdout


@pytest.fixture
def without(monkeypatch):
    """Let a module not be there when the command is imported."""

    def hide(missing):
        loaded = [name for name in sys.modules if name.startswith("optilock.moving.")]
        for name in loaded:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr("optilock.moving.command", raising=False)
        monkeypatch.setitem(sys.modules, missing, None)

    return hide


def test_it_says_what_it_needs(without):
    without("libcst")
    with pytest.raises(CommandError, match=r"pip install \"optilock\[move\]\""):
        call_command("optilock_move")
    with pytest.raises(SystemExit, match=r"pip install \"optilock\[move\]\""):
        run_module("optilock.moving", run_name="__main__")


def test_it_does_not_blame_libcst_for_what_else_is_missing(without):
    without("optilock.moving.migrations")
    with pytest.raises(ModuleNotFoundError, match=r"optilock\.moving\.migrations"):
        call_command("optilock_move")
    with pytest.raises(ModuleNotFoundError, match=r"optilock\.moving\.migrations"):
        run_module("optilock.moving", run_name="__main__")
