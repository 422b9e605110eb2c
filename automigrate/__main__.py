"""The command `automigrate`, also as `python -m automigrate`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from automigrate.cli import plain, running
from automigrate.cli.settings import resolve
from automigrate.cli.sparing import spare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automigrate.cli.settings import Flags

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the arguments are those of the process.

    A plain `automigrate upgrade` is run without click: it is what containers start with, and
    finding nothing to do must cost next to nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # no locale turns a right result into an encoding error
            stream.reconfigure(errors="backslashreplace")
    if arguments is None:
        spare()
    given = sys.argv[1:] if arguments is None else arguments
    flags = plain.read(given)
    if flags is not None:
        return running.exit_code(lambda: _upgrade(flags))
    return running.exit_code(lambda: _with_click(given))


def _upgrade(flags: Flags) -> int:
    settings = resolve(flags)
    return running.exit_code(
        lambda: running.reported(settings, lambda migrator: migrator.upgrade()), settings
    )


def _with_click(arguments: Sequence[str]) -> int:
    from automigrate.cli import group

    return group.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
