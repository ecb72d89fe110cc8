"""A picture of the demo's results: how fast each way is, and what it loses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from shop.story import Result

RIGHT, WRONG, TEXT, SOFT = "#0f766e", "#c2410c", "#1b2422", "#56635f"


def draw(results: Sequence[Result], path: Path, subtitle: str) -> None:
    """Draw one bar per way for its throughput, and one for its losses.

    Args:
        results: in the order of their stories.
        path: the suffix chooses the format (.svg, .png, .pdf).
        subtitle: what was measured.
    """
    labels, speeds, losses, colours, headings = [], [], [], [], {}
    for story, of_story in groupby(results, key=lambda result: result.story):
        headings[len(labels)] = story.title
        labels.append("")
        speeds.append(0.0)
        losses.append(0.0)
        colours.append(SOFT)
        for result in of_story:
            labels.append(result.way.title)
            speeds.append(result.asked / result.seconds)
            losses.append(100 * abs(result.lost) / max(1, result.confirmed))
            colours.append(RIGHT if result.way.right else WRONG)
    rows = range(len(labels))

    figure = Figure(figsize=(10, 1.3 + 0.3 * len(labels)), layout="constrained")
    speed, loss = figure.subplots(1, 2, sharey=True)
    figure.suptitle(subtitle, x=0.01, ha="left", color=SOFT, fontsize=10)
    for axes, values, title, format_ in (
        (speed, speeds, "Requests answered per second", "{:,.0f}"),
        (loss, losses, "Lost or counted twice, % of confirmed", "{:.0f} %"),
    ):
        axes.barh(rows, values, color=colours, height=0.62)
        axes.set_title(title, loc="left", fontsize=11, color=TEXT, pad=2)
        axes.set_xlim(0, max(values) * 1.18 or 1)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.spines["left"].set_color(SOFT)
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        for row, value in zip(rows, values, strict=True):
            if row not in headings:
                axes.annotate(
                    format_.format(value),
                    (value, row),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=9,
                    color=TEXT,
                )
    speed.set_yticks(rows, labels, fontsize=9.5, color=TEXT)
    speed.set_ylim(len(labels) - 0.4, -0.6)
    for row, title in headings.items():
        speed.annotate(
            title,
            (0, row),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=10,
            fontweight="bold",
            color=TEXT,
        )
    figure.savefig(path, dpi=150)
