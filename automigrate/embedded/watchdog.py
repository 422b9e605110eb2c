"""Run PostgreSQL as a child of this process, and stop it when nobody uses it any more.

`automigrate.embedded` starts this file as a program of its own (standard library only, so that
it is up in milliseconds and small). Whoever uses the server holds a shared flock on
``users.lock``, which the kernel releases even after ``kill -9``; this program waits for the
exclusive one. It holds ``running.lock`` for as long as the server runs. If this program itself
is killed, Linux sends the server SIGINT (a fast shutdown): no way out leaves a server behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Order", "main", "remove_directory"]

_FAST_SHUTDOWN = signal.SIGINT
_IMMEDIATE_SHUTDOWN = signal.SIGQUIT
_FAST_SHUTDOWN_TIMEOUT = 20.0
_PR_SET_PDEATHSIG = 1
_STDOUT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run, for whom, and what to leave behind."""

    command: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    log: str
    uid: int | None
    """Account to run the server under; `None` for the account of this process."""
    gid: int | None
    socket_directory: str | None
    """A directory to remove when the server has ended."""
    temporary: bool
    """Whether to remove `directory` too, if its users have gone without stopping the server."""

    def to_json(self) -> str:
        """Write the order as one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read what `to_json` has written."""
        fields = json.loads(text)
        fields["command"] = tuple(fields["command"])
        return cls(**fields)


def remove_directory(directory: Path) -> None:
    """Remove a server's directory, unless somebody is starting a server in it right now.

    It is renamed first, so that a server started under the same path at this moment finds either
    the whole directory or none of it.
    """
    with contextlib.suppress(OSError), (directory / "start.lock").open("a") as start:
        fcntl.flock(start, fcntl.LOCK_EX | fcntl.LOCK_NB)
        doomed = directory.with_name(f"{directory.name}.removed-{os.getpid()}")
        directory.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def main(order: Order) -> None:
    """Detach from the caller, run the server to its end, clean up."""
    if os.fork():
        os._exit(0)
    directory = Path(order.directory)
    running = os.open(directory / "running.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(running, fcntl.LOCK_EX)
    server = _start(order)
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(_FAST_SHUTDOWN))
    abandoned = threading.Event()
    threading.Thread(
        target=_stop_when_unused, args=(directory, server, abandoned), daemon=True
    ).start()
    os.write(_STDOUT, f"{server.pid}\n".encode())
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # the caller reads to the end
    server.wait()
    if order.socket_directory is not None:
        shutil.rmtree(order.socket_directory, ignore_errors=True)
    if order.temporary and abandoned.is_set():
        remove_directory(directory)
    os._exit(0)


def _start(order: Order) -> subprocess.Popen[bytes]:
    account: dict[str, Any] = {}
    if order.uid is not None:
        account = {"user": order.uid, "group": order.gid, "extra_groups": []}
    with Path(order.log).open("ab") as log:
        # preexec_fn is safe here: this process has one thread yet. It runs after the change of
        # the account, which would clear the signal (prctl(2), PR_SET_PDEATHSIG).
        return subprocess.Popen(  # noqa: S603 - a program of PostgreSQL, without a shell
            order.command,
            env=order.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            umask=0o077,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            **account,
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(_FAST_SHUTDOWN))


def _stop_when_unused(
    directory: Path, server: subprocess.Popen[bytes], abandoned: threading.Event
) -> None:
    users = os.open(directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(users, fcntl.LOCK_EX)
    abandoned.set()
    server.send_signal(_FAST_SHUTDOWN)
    try:
        server.wait(_FAST_SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.send_signal(_IMMEDIATE_SHUTDOWN)


if __name__ == "__main__":
    main(Order.from_json(sys.argv[1]))
