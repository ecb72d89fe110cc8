"""Random sequences of everything, by several holders of the same rows.

The truth keeps, for each row, its values and a *write*: an object that is made
by each successful write. A holder may write a row exactly if it holds the
row's write. That is what a lock promises, stated without any numbers: refusing
more is a false alarm, refusing less a lost update.

Left out, because it is a known limit: a number that was loaded, refreshed or
copied inside a transaction which had raised it through another instance. If
that transaction is rolled back, nobody knows of this reader. Here such a holder
lets go of its instance.
"""

from __future__ import annotations

import copy
import pickle

import pytest
from django.db import IntegrityError, connection, transaction
from examples import examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from testapp.models import Account, Place, Restaurant

from optilock import RecordDeletedError, RecordModifiedError


class Write:
    """What a successful write of a row makes."""

    def __init__(self, number):
        self.number = number


class Holder:
    """An instance, the write it is based on (None: it is new), and its own writes."""

    def __init__(self, instance, write=None):
        self.instance = instance
        self.write = write
        self.undo = {}  # a write this holder made -> the one it held before

    def made(self, write):
        self.undo[write] = self.write
        self.write = write


class Level:
    """An open transaction or savepoint, and what to go back to."""

    def __init__(self, end, rows):
        self.end = end
        self.rows = {
            key: (dict(values), write) for key, (values, write) in rows.items()
        }
        self.writes = []
        self.deleted = []  # whose row it was


class UndoError(Exception):
    pass


class Machine(RuleBasedStateMachine):
    model = None
    text, number = None, None  # the names of two fields

    holders = Bundle("holders")

    def __init__(self):
        super().__init__()
        self.rows = {}
        self.levels = []
        self.everybody = []

    def teardown(self):
        while self.levels:
            self.end_level(keep=False)
        self.model.objects.all().delete()

    # The truth

    def wrote(self, key, values):
        number = self.rows[key][1].number + 1 if key in self.rows else 1
        write = Write(number)
        self.rows[key] = values, write
        for level in self.levels:
            level.writes.append(write)
        return write

    def values(self, instance):
        return {name: getattr(instance, name) for name in (self.text, self.number)}

    def holds(self, holder):
        self.everybody.append(holder)
        return holder

    def gone(self, holder):
        return holder not in self.everybody

    # Holders come

    @rule(target=holders, value=st.integers(0, 9))
    def build(self, value):
        return self.holds(Holder(self.model(**{self.number: value})))

    @precondition(lambda self: self.rows)
    @rule(target=holders, data=st.data())
    def load(self, data):
        key = data.draw(st.sampled_from(sorted(self.rows)))
        instance = self.model.objects.get(pk=key)
        return self.holds(Holder(instance, self.rows[key][1]))

    @rule(
        target=holders,
        holder=holders,
        duplicate=st.sampled_from(
            [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]  # noqa: S301
        ),
    )
    def duplicate(self, holder, duplicate):
        if self.gone(holder):
            return multiple()
        return self.holds(Holder(duplicate(holder.instance), holder.write))

    @rule(target=holders, holder=consumes(holders))
    def make_a_new_row_of_it(self, holder):
        if self.gone(holder):
            return multiple()
        self.everybody.remove(holder)
        if holder.write is None:
            return multiple()
        holder.instance.pk = holder.instance.id = None
        holder.instance.save()
        successor = Holder(holder.instance)
        successor.made(self.wrote(holder.instance.pk, self.values(holder.instance)))
        return self.holds(successor)

    # Holders work

    @rule(holder=holders, text=st.sampled_from("abc"), value=st.integers(0, 9))
    def edit(self, holder, text, value):
        setattr(holder.instance, self.text, text)
        setattr(holder.instance, self.number, value)

    @rule(
        holder=holders,
        form=st.sampled_from(["plain", "text", "number", "version", "force_update"]),
    )
    def save(self, holder, form):
        if self.gone(holder):
            return
        instance = holder.instance
        if holder.write is None:
            self.insert(holder)
            return
        written, arguments = (self.text, self.number), {}
        if form in ("text", "number"):
            written = (getattr(self, form),)
            arguments = {"update_fields": written}
        elif form == "version":
            written, arguments = (), {"update_fields": ["version"]}
        elif form == "force_update":
            arguments = {"force_update": True}
        if self.refuses(holder, lambda: instance.save(**arguments)):
            return
        values = dict(self.rows[instance.pk][0])
        values |= {name: getattr(instance, name) for name in written}
        holder.made(self.wrote(instance.pk, values))

    def insert(self, holder):
        instance = holder.instance
        if instance.pk in self.rows:
            # SQLite gives the key of a rolled-back row to the next one.
            with pytest.raises(IntegrityError), transaction.atomic():
                instance.save()
        else:
            instance.save()
            holder.made(self.wrote(instance.pk, self.values(instance)))

    @rule(holder=holders)
    def delete(self, holder):
        if self.gone(holder) or holder.write is None:
            return
        key = holder.instance.pk
        if self.refuses(holder, holder.instance.delete):
            assert holder.instance.pk == key
            return
        del self.rows[key]
        self.everybody.remove(holder)
        for level in self.levels:
            level.deleted.append(holder)

    def refuses(self, holder, write):
        """Write, and return whether that was refused, as it had to be or not."""
        key = holder.instance.pk
        before = {**self.values(holder.instance), "version": holder.instance.version}
        if key not in self.rows:
            with pytest.raises(RecordDeletedError):
                write()
        elif self.rows[key][1] is not holder.write:
            with pytest.raises(RecordModifiedError) as caught:
                write()
            assert not isinstance(caught.value, RecordDeletedError)
        else:
            write()
            return False
        after = {**self.values(holder.instance), "version": holder.instance.version}
        assert after == before
        return True

    @rule(holder=holders)
    def refresh(self, holder):
        if self.gone(holder) or holder.instance.pk not in self.rows:
            return
        if holder.write is None:
            return
        holder.instance.refresh_from_db()
        holder.write = self.rows[holder.instance.pk][1]

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), value=st.integers(0, 9))
    def update_in_the_database(self, data, value):
        key = data.draw(st.sampled_from(sorted(self.rows)))
        assert self.model.objects.filter(pk=key).update(**{self.number: value}) == 1
        self.wrote(key, {**self.rows[key][0], self.number: value})

    # Transactions

    @precondition(lambda self: len(self.levels) < 4)
    @rule(savepoint=st.booleans())
    def begin(self, savepoint):
        if savepoint and self.levels:
            sid = connection.savepoint()

            def end(keep):
                if not keep:
                    connection.savepoint_rollback(sid)
                connection.savepoint_commit(sid)
        else:
            block = transaction.atomic()
            block.__enter__()

            def end(keep):
                error = (None, None) if keep else (UndoError, UndoError())
                block.__exit__(*error, None)

        self.levels.append(Level(end, self.rows))

    @precondition(lambda self: self.levels)
    @rule(keep=st.booleans())
    def end(self, keep):
        self.end_level(keep)

    def end_level(self, keep):
        level = self.levels.pop()
        level.end(keep)
        if keep:
            return
        self.rows = level.rows
        self.everybody += level.deleted
        for outer in self.levels:
            outer.writes = [w for w in outer.writes if w not in level.writes]
            outer.deleted = [h for h in outer.deleted if h not in level.deleted]
        for holder in list(self.everybody):
            while holder.write in level.writes:
                if holder.write not in holder.undo:
                    self.everybody.remove(holder)  # the known limit, see above
                    break
                holder.write = holder.undo[holder.write]

    # What is always so

    @invariant()
    def database_tells_the_truth(self):
        names = (self.text, self.number)
        found = {
            key: (dict(zip(names, values, strict=True)), version)
            for key, version, *values in self.model.objects.values_list(
                "pk", "version", *names
            )
        }
        assert found == {
            key: (values, write.number) for key, (values, write) in self.rows.items()
        }

    @invariant()
    def holders_hold_the_number_of_their_write(self):
        for holder in self.everybody:
            if holder.write is None:
                assert holder.instance._state.adding
            else:
                assert holder.instance.pk is not None
                assert not holder.instance._state.adding
                assert holder.instance.version == holder.write.number


class AccountMachine(Machine):
    model, text, number = Account, "owner", "balance"


class RestaurantMachine(Machine):
    model, text, number = Restaurant, "name", "stars"

    def teardown(self):
        super().teardown()
        Place.objects.all().delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("machine", [AccountMachine, RestaurantMachine])
def test_nobody_loses_an_update_or_hears_a_false_alarm(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(40),
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
