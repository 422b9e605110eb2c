"""Run a program that ends when its parent does, also when that one is killed.

`automigrate.recovery.tools` starts this file as a program of its own (standard library only, so
that it is up in milliseconds), with the parent's process id and the command. On Linux the kernel
sends the signal, and this process becomes the program; elsewhere it stays and watches.

The signal is SIGTERM, not SIGKILL: on it pg_dump and pg_restore cancel what the server does for
them and end their parallel workers, which would work on otherwise.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.2


def main(arguments: list[str]) -> int:
    """Become the program, or run it and return its exit code."""
    parent, command = int(arguments[0]), arguments[1:]
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # died before the kernel was told
            return 1
        os.execv(command[0], command)  # noqa: S606 - PostgreSQL's programs, without a shell
    return _watch(parent, command)


def _watch(parent: int, command: list[str]) -> int:
    with subprocess.Popen(command) as process:  # noqa: S603 - as above
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK_SECONDS)
            if os.getppid() != parent:
                process.terminate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
