"""What the windows of a browser test are like: ``@windows(phone=PHONE)``."""

from __future__ import annotations

import pytest

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
DARK = {"color_scheme": "dark"}
NO_SCRIPTS = {"java_script_enabled": False}


def windows(**kinds):
    """Run a test once for each kind of window."""
    return pytest.mark.parametrize("options", kinds.values(), ids=kinds)


with_and_without_scripts = windows(scripts={}, no_scripts=NO_SCRIPTS)
