"""Draws save() and bulk_update() from what ``--json`` has stored:

python -m benchmarks.picture benchmarks/results
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.harness import quartiles, ratios
from benchmarks.report import NAMES

PICTURE = Path(__file__).parent / "costs.svg"

MARGIN, LEFT, COLUMN, ROW = 16, 256, 170, 22  # pixels
# A light ground of its own, so that it reads the same on a dark page.
STYLE = """
    rect.ground { fill: #ffffff; stroke: #d0d7de }
    text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
    text { fill: #1f2328; stroke: #ffffff; stroke-width: 3; paint-order: stroke }
    .title { font-weight: 600; font-size: 15px }
    .small { fill: #59636e; font-size: 12px }
    .ours { font-weight: 600 }
    rect.ours { fill: #0b7285 }
    rect.theirs { fill: #adb5bd }
    line.spread { stroke: #1f2328; stroke-width: 1 }
    line.one { stroke: #c92a2a; stroke-width: 1.5; stroke-dasharray: 4 3 }
    text.one { fill: #c92a2a; font-size: 12px; text-anchor: middle }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where save and bulk.json are")
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    options = parser.parse_args()
    save, bulk = (
        json.loads((options.directory / f"{name}.json").read_text())
        for name in ("save", "bulk")
    )
    options.output.write_text(draw(save, bulk))


def draw(save: dict[str, Any], bulk: dict[str, Any]) -> str:
    """Return an SVG: a block of bars for each of the two, a column per database."""
    parts: list[str] = []
    top = MARGIN
    # Of save() the first table, of bulk_update() the last: the most rows.
    for result, index, what in ((save, 0, "client CPU"), (bulk, -1, "time")):
        name = result["runs"][0]["tables"][index]["name"]
        parts.append(text(MARGIN, top + 16, f"{result['title']} of {name}", "title"))
        parts.append(text(MARGIN, top + 40, f"{what}, less is better", "small"))
        samples = {
            NAMES[run["database"]]: run["tables"][index]["samples"]
            for run in result["runs"]
        }
        parts.extend(block(samples, top + 28))
        rows = max(len(ways(found)) for found in samples.values())
        top += 28 + ROW * (rows + 2) + MARGIN
    width = MARGIN + LEFT + len(samples) * (COLUMN + MARGIN)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" '
        f'width="{width}" height="{top}" role="img">\n'
        f"<title>What save() and bulk_update() cost</title>\n<style>{STYLE}</style>\n"
        f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" '
        f'height="{top - 1}" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def block(samples: dict[str, dict[str, list[float]]], top: int) -> Iterator[str]:
    """Yield the bars of one benchmark, the same scale for all databases."""
    names = list(
        dict.fromkeys(way for found in samples.values() for way in ways(found))
    )
    for place, way in enumerate(names, 1):
        kind = "ours" if way.startswith("optilock") else "theirs"
        yield text(MARGIN, top + ROW * place + 16, way, kind)
    spans = {
        (database, way): quartiles(ratios(found, way))
        for database, found in samples.items()
        for way in ways(found)
    }
    scale = (COLUMN - 40) / max(high for _, _, high in spans.values())
    bottom = top + ROW * (len(names) + 1)
    for column, database in enumerate(samples):
        x = MARGIN + LEFT + column * (COLUMN + MARGIN)
        yield text(x, top + 12, database)
        labels = []
        for place, way in enumerate(names, 1):
            if (database, way) not in spans:
                continue
            low, middle, high = (scale * ratio for ratio in spans[database, way])
            kind = "ours" if way.startswith("optilock") else "theirs"
            y = top + ROW * place
            yield (
                f'<rect class="{kind}" x="{x}" y="{y + 4}" width="{middle:.1f}" '
                f'height="{ROW - 6}"/>'
            )
            yield line("spread", x + low, y + 12, x + high, y + 12)
            label = f"{spans[database, way][1]:.2f}"
            labels.append(text(x + max(middle, high) + 5, y + 16, label, kind))
        yield line("one", x + scale, top + ROW, x + scale, bottom)
        yield text(x + scale, bottom + 14, "Django without a lock", "one")
        yield from labels  # above the line


def ways(samples: dict[str, list[float]]) -> list[str]:
    return [way for way in samples if not way.startswith("floor")]


def text(x: float, y: float, content: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(content)}</text>'


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}"/>'


if __name__ == "__main__":
    main()
