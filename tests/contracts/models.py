from __future__ import annotations

from testapp.models import Line, Order

from contracts.packages import NAME

if NAME == "simple_history":
    from simple_history import register

    register(Order, app="contracts")
    register(Line, app="contracts")
