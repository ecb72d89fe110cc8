"""What differs between two texts, as HTML."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from optilock.differences import WORDS, BoundedMatcher, Budget

__all__ = [
    "AROUND",
    "FEW_WORDS",
    "LONG",
    "MANY_LETTERS",
    "MANY_WORDS",
    "beginning",
    "mark",
    "remark",
]

#: How much of what is the same is shown around a difference.
AROUND = 60

#: Up to this many words, there is time to find the best differences.
FEW_WORDS = 3_000

#: Beyond this many words, looking for differences would take too long.
MANY_WORDS = 20_000

#: Beyond this many letters there is no time even to find the words.
MANY_LETTERS = 200_000

#: Values longer than this are shown in part, and the rest on demand.
LONG = 300


def beginning(text: str) -> str:
    """Return as much of a text as is shown at once."""
    return text if len(text) <= LONG else text[: LONG // 2]


def remark(text: str) -> SafeString:
    """Return what is said of a value, as HTML."""
    return format_html('<span class="optilock-remark">{}</span>', text)


def mark(
    start: str, end: str, *, shorten: bool = False, budget: Budget | None = None
) -> SafeString:
    """Return the end as HTML, with ``<ins>`` and ``<del>`` for what changed.

    Args:
        start: what it was.
        end: what it is.
        shorten: whether to leave out much of what is the same.
        budget: what is left of that of the page.
    """
    plain = beginning(end) if shorten else end
    unmarked = format_html("{} {}", remark(gettext("(too long to be compared)")), plain)
    if len(start) + len(end) > MANY_LETTERS:
        return unmarked
    old, new = WORDS.findall(start), WORDS.findall(end)
    if len(old) + len(new) > MANY_WORDS:
        return unmarked
    pairs = list(_differences(old, new, budget or Budget()))
    same = sum(len(removed) for removed, added in pairs if removed == added)
    if same < 0.3 * max(len(start), len(end)):  # another text: marks would confuse
        return format_html("{}", plain)
    parts: list[tuple[str, str, str]] = []  # the same, deleted, inserted
    for removed, added in pairs:
        if removed == added and (removed.strip() or not parts):
            parts.append((removed, "", ""))
        elif parts and not parts[-1][0]:  # words in a row read as one change
            _, before, after = parts.pop()
            parts.append(("", before + removed, after + added))
        else:
            parts.append(("", removed, added))
    return format_html_join(
        "", "{}{}{}", (_marked(parts, i, shorten) for i in range(len(parts)))
    )


def _differences(
    old: list[str], new: list[str], budget: Budget
) -> Iterator[tuple[str, str]]:
    """Yield two texts part by part, in pairs: the same in both, or changed."""
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    shorter -= head
    tail = next((i for i in range(shorter) if old[-1 - i] != new[-1 - i]), shorter)
    yield "".join(old[:head]), "".join(new[:head])
    # Most people change a text in one place, which leaves little to compare.
    old_end, new_end = len(old) - tail, len(new) - tail
    changed = old[head:old_end], new[head:new_end]
    # Its own short cut overlooks words that come again and again.
    autojunk = len(changed[0]) + len(changed[1]) > FEW_WORDS
    matcher = BoundedMatcher(None, *changed, autojunk=autojunk, budget=budget)
    for _, a, b, c, d in matcher.get_opcodes():
        yield "".join(changed[0][a:b]), "".join(changed[1][c:d])
    yield "".join(old[old_end:]), "".join(new[new_end:])


def _marked(
    parts: list[tuple[str, str, str]], index: int, shorten: bool
) -> tuple[str, str, str]:
    same, removed, added = parts[index]
    if shorten and len(same) > 3 * AROUND:
        head = same[:AROUND] if index else ""
        tail = same[-AROUND:] if index + 1 < len(parts) else ""
        same = f"{head}…{tail}"
    return same, _tag("del", removed), _tag("ins", added)


def _tag(name: str, content: str) -> SafeString | str:
    return format_html("<{0}>{1}</{0}>", name, content) if content else ""
