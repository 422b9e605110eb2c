"""Timed rounds: everything once a round in changing order, compared with the floor of its round.

On a machine that others use too, times of different minutes cannot be compared; times of the same
round can.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Subject", "Table", "measure"]


@dataclass(slots=True)
class Subject:
    """Something to time."""

    name: str
    run: Callable[[], float | None]
    """Runs once and returns the seconds; `None`: it failed."""
    seconds: list[float | None] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Table:
    """Results of one scenario: rows of cells, the first row the floor."""

    key: str
    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    points: dict[str, dict[str, float]] = field(default_factory=dict)
    """For the plot: by tool, by label of the column, the ratio to the floor."""


def measure(subjects: Iterable[Subject], rounds: int, *, warm: bool = True) -> None:
    """Run every subject once a round.

    Args:
        subjects: what to time; results are added to their `seconds`.
        rounds: how many rounds count.
        warm: run everything once before, uncounted, so that caches are filled.
    """
    order = list(subjects)
    if warm:
        for subject in order:
            subject.run()
    for _ in range(rounds):
        random.shuffle(order)
        for subject in order:
            subject.seconds.append(subject.run())


def ratio(subject: Subject, floor: Subject) -> float | None:
    """Return the median of the ratios within each round."""
    pairs = zip(subject.seconds, floor.seconds, strict=True)
    found = [own / base for own, base in pairs if own is not None and base is not None]
    return statistics.median(found) if found else None


def cell(subject: Subject, floor: Subject) -> str:
    """Write median, range and ratio."""
    times = [second for second in subject.seconds if second is not None]
    if not times:
        return "fails"
    compared = ratio(subject, floor)
    middle, least, most = statistics.median(times), min(times), max(times)
    shown = "" if compared is None else f"**{compared:.2f} ×** "
    return f"{shown}{duration(middle)} ({duration(least)}–{duration(most)})"


def duration(seconds: float) -> str:
    """Write a duration with the digits that mean something."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
