"""Where on a page something stands."""

from __future__ import annotations

import re


def form_around(html: str, needle: str) -> int:
    """Return where the form begins that is posted with an input, or the text."""
    at = html.index(needle)
    tag = html[html.rindex("<", 0, at) : html.index(">", at)]
    if named := re.search(r' form="([\w-]+)"', tag):
        return re.search(rf'<form[^>]* id="{named[1]}"', html).start()
    start = html.rfind("<form", 0, at)
    assert start > html.rfind("</form", 0, at), f"{needle} is in no form"
    return start
