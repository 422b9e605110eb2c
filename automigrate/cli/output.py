"""What the command line prints: results on stdout, errors on stderr, and nothing it trips over."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "bug",
    "duration",
    "error",
    "json_line",
    "line",
    "on_terminal",
    "progress",
    "redraws",
]


def line(text: str) -> None:
    """Print a line of the result; that nobody reads it does not make the result wrong."""
    _write(sys.stdout, f"{text}\n")


def json_line(value: Any) -> None:
    """Print a result for machines, on one line."""
    line(json.dumps(value, ensure_ascii=False, default=str))


def error(failure: BaseException) -> None:
    """Print an error on stderr: its text, then the notes that were added to it."""
    _complain("\n".join([str(failure), *getattr(failure, "__notes__", ())]))


def bug(failure: BaseException, secrets: Iterable[str] = ()) -> None:
    """Print an unexpected exception with its traceback, without passwords."""
    from automigrate import __version__
    from automigrate.database.url import scrub

    _write(sys.stderr, scrub("".join(traceback.format_exception(failure)), secrets))
    _complain(
        f"this is a bug in automigrate {__version__}. Please report it with the traceback above; "
        "passwords are removed from it, other data of yours may not be."
    )


def on_terminal(stream: TextIO | None) -> bool:
    """Whether colours are welcome on a stream; https://no-color.org."""
    return redraws(stream) and not os.environ.get("NO_COLOR")


def redraws(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal on which lines can be drawn anew, in colours or without."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on stderr where it is a terminal; called with the name of what begins."""
    if not redraws(sys.stderr):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def advance(name: str) -> None:
            bar.update(task, description=name, advance=1)

        yield advance


def duration(seconds: float) -> str:
    """Render a duration: `12 ms`, `3.4 s`, `2 min 5 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 -- seconds in a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _complain(text: str) -> None:
    if not on_terminal(sys.stderr):
        _write(sys.stderr, f"automigrate: error: {text}\n")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("automigrate: ", "bold"), ("error: ", "bold red"), text))


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed before the start
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # the reader is gone, the disk is full, the stream is closed
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Point a broken stream at nothing, so that the flush at exit does not fail again."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
