"""Draws what the benchmarks wrote with ``--json``: one row of bars per database.

python -m benchmarks.picture --group "six fields" -o save.svg save-*.json
"""

from __future__ import annotations

import argparse
import json
import statistics

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.harness import ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--group", required=True, help="which of the file's tables")
    parser.add_argument("-o", "--output", required=True, help="an .svg or .png file")
    options = parser.parse_args()
    results = []
    for name in options.files:
        with open(name) as file:
            results.append(json.load(file))
    draw(results, options.group).savefig(
        options.output, metadata={"Date": None} if "svg" in options.output else None
    )


def draw(results: list[dict], group: str) -> Figure:
    # The same input gives the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "optilock", "svg.fonttype": "none"})
    figure = Figure(figsize=(8, 1 + 1.9 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), sharex=True, squeeze=False)[:, 0]
    for axis, result in zip(axes, results, strict=True):
        samples = result["microseconds"][group]
        for place, name in enumerate(reversed(samples)):
            low, middle, high = statistics.quantiles(ratios(samples, name), n=4)
            colour = "#0b7285" if name.startswith("optilock") else "#adb5bd"
            axis.barh(place, middle, color=colour)
            axis.plot([low, high], [place, place], color="#495057", linewidth=1)
            axis.annotate(
                f" {middle:.2f}", (max(middle, high), place), va="center", fontsize=8
            )
        axis.set_yticks(range(len(samples)), reversed(samples), fontsize=8)
        axis.axvline(1, color="#495057", linewidth=0.8, linestyle="dotted")
        axis.set_title(result["database"], fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("client CPU, Django's own save() without a lock = 1")
    figure.suptitle(f"{results[0]['title']}, {group}", fontsize=10)
    return figure


if __name__ == "__main__":
    main()
