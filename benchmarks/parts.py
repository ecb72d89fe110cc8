"""Where the instructions of a locked ``save()`` go, one part after the other."""

from __future__ import annotations

from functools import partial

from django.db import connection, connections

from benchmarks import harness
from benchmarks.save import saving
from optilock import fast_update, keys, loaded, save_state
from optilock.plain_sql import PlainFields, statement_of


def parts() -> harness.Ways:
    """Return a whole save with and without a lock, and what the locked one does."""
    from benchmarks import models

    model, using = models.Locked, connection.alias
    instance = model.objects.get(pk=model.objects.create().pk)
    instance.save()
    field = model._meta.get_field("version")
    written = [one.name for one in models.SixFields._meta.local_fields]
    plain = PlainFields([model._meta.get_field(name) for name in written])
    values = plain.values(instance)
    row = (model._meta.pk, instance.pk), (field, instance.version)
    statement = statement_of(connection, row, plain, values)

    def send() -> None:
        with connection.cursor() as cursor:
            cursor.execute(*statement)

    def is_patched() -> bool:
        return not (plain.are_as_usual() and fast_update.sends_as_usual(connection))

    return {
        "Django, no lock": saving(models.Unlocked),
        "optilock": saving(model),
        "- save() around the tables, as in Django": around(models.Unlocked),
        "- the cursor, and SQLite": send,
        "- pre_save()": partial(plain.values, instance),
        "- the text, and the parameters": partial(
            statement_of, connection, row, plain, values
        ),
        "- the connection": lambda: connections[using],
        "- is what is left out patched?": is_patched,
        "- what was there before": lambda: save_state.SaveState(
            field.lock, instance, {}
        ).end(),
        "- is the key the same?": partial(keys.has_new_key, instance, model),
        "- what was written": partial(loaded.note_row, instance, model, connection),
    }


def around(model) -> harness.Way:
    """Return a ``save()`` that writes no table."""
    instance = model.objects.get(pk=model.objects.create().pk)
    vars(instance)["_save_table"] = lambda *args, **kwargs: True
    return instance.save
