"""Signals that tell how often calls had to be tried again.

The sender is the decorated function. Receivers can't disturb it: what they
raise is logged by Django, not raised.
"""

from __future__ import annotations

from django.dispatch import Signal

#: An attempt lost a conflict, and there will be another one.
#:
#: Arguments: ``error`` (the conflict), ``attempt`` (the number of the attempt
#: that lost, from 1), ``wait`` (the seconds until the next one).
retried = Signal()

#: The last attempt lost as well; ``error`` is about to be raised.
#:
#: Arguments: ``error`` (the conflict), ``history`` (a ``RetryHistory``).
gave_up = Signal()
