"""The life of one PostgreSQL process: initialised, started through the watchdog, shut down."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never

from automigrate.embedded import binaries as programs, watchdog
from automigrate.embedded.directory import POLL_INTERVAL
from automigrate.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automigrate.embedded.account import Account
    from automigrate.embedded.directory import ServerDirectory

__all__ = ["HOST", "STOP_TIMEOUT", "ServerProcess", "StopMode"]

HOST = "127.0.0.1"
STOP_TIMEOUT = 60.0
_START_TIMEOUT = 60.0
_LEFTOVER_TIMEOUT = 10.0
_RETRY_INTERVAL = 0.1
_PORT_TAKEN = "Address already in use"
_TELLING = ("FATAL", "ERROR", "HINT", "could not")
_BACKENDS_LEFT = "pre-existing shared memory block"
"""Said while backends of a killed postmaster are still ending."""

StopMode = Literal["smart", "fast", "immediate"]
"""``smart`` waits for sessions to end, ``fast`` ends them, ``immediate`` crashes the server."""


class ServerProcess:
    """PostgreSQL on one directory; the caller holds `ServerDirectory.starting` to start it."""

    def __init__(
        self,
        place: ServerDirectory,
        account: Account,
        *,
        binaries: Path,
        settings: Mapping[str, str],
        superuser: str,
        port: int | None,
        temporary: bool,
    ) -> None:
        self.port = port or _free_port()
        self.socket_directory = place.path / "socket"
        self._place = place
        self._account = account
        self._binaries = binaries
        self._settings = settings
        self._superuser = superuser
        self._may_change_port = port is None
        self._temporary = temporary

    def start_or_attach(self) -> None:
        """Find the server that another process started here, or start it.

        Raises:
            DatabaseUnavailableError: see `start`.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while self._place.is_running and time.monotonic() < deadline:
            found = self._place.pid_file()
            if found is not None and found.ready:
                self.port = found.port
                self.socket_directory = found.socket_directory
                return
            time.sleep(POLL_INTERVAL)  # it is shutting down
        self.start()

    def start(self) -> None:
        """Start the server on its data, made first if there is none; waits until it is ready.

        Raises:
            DatabaseUnavailableError: it did not come up within 60 s, or said why it cannot.
        """
        if not self._place.data.exists():
            self._initialise()
        self._end_leftover()
        self._may_change_port, may_change_port = False, self._may_change_port
        started = time.monotonic()
        while True:
            said_before = self._place.log.stat().st_size if self._place.log.exists() else 0
            if self._spawn():
                return
            said = self._place.log.read_bytes()[said_before:].decode(errors="replace")
            waited = time.monotonic() - started
            passing = _BACKENDS_LEFT in said or (_PORT_TAKEN in said and may_change_port)
            if not passing or waited > _LEFTOVER_TIMEOUT:
                raise DatabaseUnavailableError(
                    reason=f"PostgreSQL did not start in {self._place.path}: {_complaint(said)}",
                    remedy=f"Its log is {self._place.log}.",
                    waited_seconds=waited,
                )
            if may_change_port:
                self.port = _free_port()
            time.sleep(_RETRY_INTERVAL)

    def _initialise(self) -> None:
        """Run initdb beside the place and move the result there: it is whole or missing."""
        for unfinished in self._place.path.glob("initdb-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        fresh = self._place.path / f"initdb-{secrets.token_hex(4)}"
        self._account.make_directory(fresh)
        command: list[str | Path] = [
            self._binaries / "initdb",
            f"--pgdata={fresh}",
            f"--username={self._superuser}",
            f"--pwfile={self._place.path / 'password'}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]
        if self._settings.get("fsync") == "off":
            command.append("--no-sync")
        try:
            programs.run(command, self._account)
        except subprocess.CalledProcessError as error:
            raise DatabaseUnavailableError(
                reason=f"initdb failed: {error.stderr.strip()}",
                remedy=f"Check that {self._place.path} has room and can be written.",
            ) from error
        fresh.rename(self._place.data)

    def _spawn(self) -> bool:
        """Start the watchdog, which starts the server; return whether that came up."""
        self.socket_directory = self._place.make_socket_directory(self._account)
        elsewhere = self.socket_directory.parent != self._place.path
        order = watchdog.Order(
            command=(
                *(str(self._binaries / "postgres"), "-D", str(self._place.data)),
                *("-p", str(self.port), "-k", str(self.socket_directory)),
                *(f"--{name}={value}" for name, value in self._settings.items()),
            ),
            environment=dict(programs.ENVIRONMENT),
            directory=str(self._place.path),
            log=str(self._place.log),
            uid=self._account.uid if self._account.switch else None,
            gid=self._account.gid if self._account.switch else None,
            socket_directory=str(self.socket_directory) if elsewhere else None,
            temporary=self._temporary,
        )
        with self._place.log.open("ab") as log:
            started = subprocess.run(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", watchdog.__file__, order.to_json()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                check=False,
            )
        return started.stdout.strip().isdigit() and self._becomes_ready(int(started.stdout))

    def _becomes_ready(self, pid: int) -> bool:
        """Wait as ``pg_ctl --wait`` does, for the word that the server puts into its pid file."""
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            found = self._place.pid_file()
            if found is not None and found.pid == pid and found.ready:
                return True
            if not self._place.is_running:
                return False
            time.sleep(POLL_INTERVAL)
        return False

    def shut_down(self, mode: StopMode) -> None:
        """Stop the server, if it runs, and wait for its end.

        Raises:
            DatabaseUnavailableError: it did not stop within 60 s.
        """
        found = self._place.pid_file()
        if found is not None and self._place.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, _signal_of(mode))
        deadline = time.monotonic() + STOP_TIMEOUT
        while self._place.is_running:
            if time.monotonic() > deadline:
                raise DatabaseUnavailableError(
                    reason=f"PostgreSQL in {self._place.path} has not stopped ({mode})",
                    remedy="End the sessions that it waits for, or stop it with mode 'immediate'.",
                    waited_seconds=STOP_TIMEOUT,
                )
            time.sleep(POLL_INTERVAL)

    def _end_leftover(self) -> None:
        """See to a ``postmaster.pid`` that is there although no watchdog runs.

        Its process may be a server whose watchdog was killed, and which is shutting down: wait.
        Another process may have its number, as in a container, where every start has the same
        numbers: PostgreSQL would refuse to start (CreateLockFile in miscinit.c), so remove the
        file. If there is no such process, PostgreSQL itself does what is right.
        """
        found = self._place.pid_file()
        if found is None or sys.platform != "linux":
            return
        deadline = time.monotonic() + _LEFTOVER_TIMEOUT
        while _working_directory(found.pid) == self._place.data.resolve():
            late = time.monotonic() > deadline
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGQUIT if late else signal.SIGINT)
            time.sleep(_RETRY_INTERVAL)
        if Path(f"/proc/{found.pid}").exists():
            (self._place.data / "postmaster.pid").unlink(missing_ok=True)


def _signal_of(mode: StopMode) -> signal.Signals:
    match mode:
        case "smart":
            return signal.SIGTERM
        case "fast":
            return signal.SIGINT
        case "immediate":
            return signal.SIGQUIT
        case _:
            assert_never(mode)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _complaint(log: str) -> str:
    """Return the lines of a log that say what went wrong, at most a few."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in _TELLING)]
    return " ".join((telling or lines or ["it said nothing"])[-4:])


def _working_directory(pid: int) -> Path | None:
    """Return the working directory of a process (Linux); a PostgreSQL's is its data."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None
