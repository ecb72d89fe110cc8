"""Signals that let a team count conflicts, and learn what became of them.

Receivers can't disturb a save or a retry: what they raise is logged by Django,
not raised.
"""

from __future__ import annotations

from django.dispatch import Signal

__all__ = [
    "conflict_detected",
    "conflict_merged",
    "edit_conflict_found",
    "gave_up",
    "overwritten",
    "precondition_failed",
    "retried",
]

#: A write was refused. The sender is the model.
#:
#: Arguments: ``instance``, ``error`` (the ``RecordModifiedError``, which is about
#: to be raised unless it is merged), ``using``.
conflict_detected = Signal()

#: A request was refused for its precondition, before anything was written. The
#: sender is the model.
#:
#: Arguments: ``instance`` (as it is now), ``error`` (the ``PreconditionFailed``),
#: ``request``.
precondition_failed = Signal()

#: A save was refused, merged with what the row had become, and then written.
#: The sender is the model.
#:
#: Arguments: ``instance``, ``conflict`` (the ``Conflict`` that was merged),
#: ``using``.
conflict_merged = Signal()

#: Somebody has sent a form about a row that somebody else had changed since it was
#: opened. The sender is the model.
#:
#: It is found before anything is written, and told once, when the request is done:
#: however often it was run, and the question was shown. So ``conflict_detected`` counts
#: what was refused, and this counts what happened to people.
#:
#: Arguments: ``instance`` (of the row), ``found_in`` ("form", "formset", "list",
#: "action" or "delete"), ``colliding`` and ``merged`` (names of fields: those that ask,
#: and those that keep what the other person saved), ``conflict`` (the
#: ``FormConflict``; ``None`` for an action or a deletion), ``author`` (who was faster,
#: an ``optilock.panel.Author``; ``None`` if nobody was asked), ``request`` (``None``
#: for a form that neither the admin nor a view of this package has validated),
#: ``using``.
edit_conflict_found = Signal()

#: A person has overwritten on purpose what somebody else had saved, and that is
#: committed. The sender is the model.
#:
#: Arguments: ``instance`` (as it was saved), ``pk``, ``version`` (that it has now),
#: ``fields`` (a dictionary of names to ``FieldChange``: ``theirs`` is what was
#: overwritten, ``mine`` what is there now; with the values of secret fields),
#: ``user`` (who did it), ``author`` (whose it was, an ``optilock.panel.Author`` with
#: ``user``, as far as that is known), ``request``, ``using``.
overwritten = Signal()

#: An attempt lost a conflict, and there will be another one.
#:
#: The sender is the decorated function. Arguments: ``error`` (the conflict),
#: ``attempt`` (the number of the attempt that lost, from 1), ``wait`` (the seconds
#: until the next one).
retried = Signal()

#: The last attempt lost as well; ``error`` is about to be raised.
#:
#: The sender is the decorated function. Arguments: ``error`` (the conflict),
#: ``history`` (a ``RetryHistory``).
gave_up = Signal()
