"""The live lines at the bottom of a terminal, drawn by rich."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from automigrate.cli.output import redraws

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import OverflowMethod, RenderableType

    from automigrate.cli.progress import Scene

__all__ = ["Bar"]

WIDTH = 24
FRAMES = 8
"""Per second."""


class Bar:
    """Shows a scene on stderr until it is closed, and then takes it away.

    What is written to `sys.stderr` meanwhile, and to `sys.stdout` if that is a terminal too, comes
    to stand above it.
    """

    def __init__(self, current: Callable[[], tuple[Scene, float]]) -> None:
        self._current = current
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        plain = not self._console.encoding.startswith("utf")
        self._spinner = Spinner("line" if plain else "dots")
        self._cut: OverflowMethod = "crop" if plain else "ellipsis"
        self._live = Live(
            get_renderable=self.drawn,
            console=self._console,
            refresh_per_second=FRAMES,
            transient=True,
            redirect_stdout=redraws(sys.stdout),
        )

    def open(self) -> None:
        """Begin to draw."""
        self._live.start()
        self._console.show_cursor()  # a process that is killed must not leave it hidden

    def close(self) -> None:
        """Take the lines away."""
        self._live.stop()

    def drawn(self) -> RenderableType:
        """Draw the scene of this moment: a line, and one for each detail."""
        scene, seconds = self._current()
        # A table, because the console's soft wrapping, which is meant for the log, spares it.
        line = Table.grid(padding=(0, 1), expand=True)
        cells: list[RenderableType] = [self._spinner]
        if scene.total is not None:
            width = min(WIDTH, self._console.width // 4)
            cells += [
                ProgressBar(total=scene.total, completed=scene.done, width=width),
                Text(f"{scene.done}/{scene.total}"),
            ]
        cells.append(Text(str(dt.timedelta(seconds=int(seconds))), style="cyan"))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow=self._cut, ratio=1)
        line.add_row(*cells, Text(_printable(scene.title)))
        return Group(line, *map(self._detail, scene.details))

    def _detail(self, text: str) -> Text:
        return Text(f"  {_printable(text)}", style="yellow", no_wrap=True, overflow=self._cut)


def _printable(text: str) -> str:
    """One line without control characters: names and queries of others may hold any."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
