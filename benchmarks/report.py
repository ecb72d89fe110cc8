"""Writes the figures of benchmarks/README.md from what ``--json`` has stored:

python -m benchmarks.report benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import number, quartiles, ratios

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
ORDER = (
    "save",
    "update_fields",
    "compiled",
    "load",
    "memory",
    "bulk",
    "hot_row",
    "hot_row_cluster",
    "random_rows",
    "retry",
    "http",
    "served",
    "pages",
    "instructions",
    "parts",
)
NAMES = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "galera1": "Galera, 1 node",
    "galera3": "Galera, 3 nodes",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where NAME.json are")
    parser.add_argument("-o", "--output", type=Path, default=README)
    options = parser.parse_args()
    files = [options.directory / f"{name}.json" for name in ORDER]
    results = [json.loads(file.read_text()) for file in files if file.exists()]
    if not results:
        parser.error(f"there is none of {', '.join(map(str, files))}.")
    before, _, rest = options.output.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [
        *dict.fromkeys(map(environment, results)),
        *(part for result in results for part in sections(result)),
    ]
    figures = "\n\n".join(parts)
    text = f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"
    options.output.write_text(text)


def environment(result: dict[str, Any]) -> str:
    """Return where and with what something was measured."""
    used = [f"Python {result['python']}"]
    used += [f"{name} {version}" for name, version in result["packages"].items()]
    for run in result["runs"]:
        version = re.search(r"[\d.]+", run["server"])
        used.append(f"{NAMES[run['database']]} {version[0] if version else '?'}")
    return f"On {result['machine']}, with {', '.join(used)}."


def sections(result: dict[str, Any]) -> Iterator[str]:
    """Yield the paragraphs and tables of one benchmark, databases side by side."""
    runs = result["runs"]
    yield f"### {result['title']}"
    yield (
        f"{result['rounds']} rounds; load average {result['load_average']:.1f} at the "
        f"start."
    )
    for tables in zip(*(run["tables"] for run in runs), strict=True):
        yield f"**{tables[0]['name']}**: {tables[0]['unit']}"
        yield table(
            [NAMES[run["database"]] for run in runs],
            [one["samples"] for one in tables],
        )
        yield from dict.fromkeys(note for one in tables for note in one["notes"])


def table(databases: list[str], samples: list[dict[str, list[float]]]) -> str:
    ways = dict.fromkeys(way for found in samples for way in found)
    lines = [f"| | {' | '.join(databases)} |", f"|---|{'---|' * len(databases)}"]
    for way in ways:
        cells = [cell(found, way) for found in samples]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(samples: dict[str, list[float]], way: str) -> str:
    """Return a median and its ratio to the yardstick, with its middle half."""
    if way not in samples:
        return "-"
    low, middle, high = map(number, quartiles(samples[way]))
    if way == next(iter(samples)):
        return f"{middle} ({low}-{high})"
    r_low, ratio, r_high = quartiles(ratios(samples, way))
    return f"{middle}, **{ratio:.2f}** ({r_low:.2f}-{r_high:.2f})"


if __name__ == "__main__":
    main()
