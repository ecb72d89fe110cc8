"""Signals that let a team count conflicts and what became of them.

Receivers can't disturb a save or a retry: what they raise is logged by Django,
not raised.
"""

from __future__ import annotations

from django.dispatch import Signal

#: A write was refused. The sender is the model.
#:
#: Arguments: ``instance``, ``error`` (the ``RecordModifiedError``, which is about
#: to be raised unless it is merged), ``using``.
conflict_detected = Signal()

#: A save was refused, merged with what the row had become, and then written.
#: The sender is the model.
#:
#: Arguments: ``instance``, ``conflict`` (the ``Conflict`` that was merged),
#: ``using``.
conflict_merged = Signal()

#: An attempt lost a conflict, and there will be another one.
#:
#: The sender is the decorated function. Arguments: ``error`` (the conflict),
#: ``attempt`` (the number of the attempt
#: that lost, from 1), ``wait`` (the seconds until the next one).
retried = Signal()

#: The last attempt lost as well; ``error`` is about to be raised.
#:
#: The sender is the decorated function. Arguments: ``error`` (the conflict),
#: ``history`` (a ``RetryHistory``).
gave_up = Signal()
