"""Running a view once more, when somebody was faster than even its checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optilock.exceptions import RecordModifiedError


def once_more(request: Any, view: Callable[[], Any]) -> Any:
    """Call a view, and again if a write in it was refused.

    Its transaction is rolled back, and what it said is taken back. The second
    run sees what the first was refused for, and asks the person.
    """
    messages = getattr(getattr(request, "_messages", None), "_queued_messages", [])
    count = len(messages)
    try:
        return view()
    except RecordModifiedError:
        if request.method != "POST":
            raise
        del messages[count:]
        for _, files in request.FILES.lists():
            for file in files:
                file.seek(0)
        return view()
