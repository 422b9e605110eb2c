"""What an embedded server keeps, and the locks that say who starts, uses and runs it.

A server's directory holds ``data``, ``server.log``, ``socket``, ``password`` (for TCP; the Unix
socket is open to the account only) and three lock files: ``start.lock`` is held while a server
is started, ``users.lock`` is shared by everyone who uses it, ``running.lock`` is held by the
watchdog while it runs. The kernel releases them with the process that holds them, so nothing has
to be repaired after ``kill -9``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.embedded.account import Account

__all__ = ["POLL_INTERVAL", "PidFile", "ServerDirectory"]

POLL_INTERVAL = 0.005
_LOCK_TIMEOUT = 60.0
_KNOWN_NAMES = frozenset({"data", "password", "postgres", "server.log", "socket"})
_KNOWN_PREFIXES = ("initdb-",)
_SOCKET_PATH_LIMIT = 103
"""`sun_path` holds 104 bytes on macOS and 108 on Linux, the terminating zero included."""
_SHORT_PLACE = "/tmp"  # noqa: S108 - mkdtemp is safe there
_TEMPORARY_PLACES = (_SHORT_PLACE, "/var/tmp")  # noqa: S108 - mkdtemp is safe there
_OPEN_TO_ALL = 0o755


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What a running server says about itself (``postmaster.pid``, see miscadmin.h)."""

    pid: int
    port: int
    socket_directory: Path
    ready: bool
    """Whether it accepts sessions."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerDirectory:
    """The directory of one embedded server."""

    path: Path

    @classmethod
    def temporary(cls, account: Account) -> ServerDirectory:
        """Make a directory in a temporary place that the account can reach."""
        for place in (tempfile.gettempdir(), *_TEMPORARY_PLACES):
            if Path(place).is_dir() and account.obstacle(Path(place)) is None:
                path = Path(tempfile.mkdtemp(prefix="automigrate-", dir=place))
                path.chmod(_OPEN_TO_ALL)
                return cls(path)
        raise ConfigurationError(
            f"the account {account.name}, under which root runs PostgreSQL, can reach no "
            "temporary directory: set TMPDIR to one that is open to it."
        )

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """What the server has said; it only grows."""
        return self.path / "server.log"

    @property
    def is_running(self) -> bool:
        """Whether a watchdog runs a server here."""
        return self._is_denied("running.lock", fcntl.LOCK_SH)

    @property
    def is_unused(self) -> bool:
        """Whether nobody uses the server, and no watchdog has noticed that yet."""
        return not self._is_denied("users.lock", fcntl.LOCK_EX)

    @property
    def is_used(self) -> bool:
        """Whether the server may be used: no watchdog stops it for lack of users."""
        return not self._is_denied("users.lock", fcntl.LOCK_SH)

    def pid_file(self) -> PidFile | None:
        """Read ``postmaster.pid``; `None` if there is none, or it is being written."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return PidFile(
                pid=int(lines[0]),
                port=int(lines[3]),
                socket_directory=Path(lines[4]),
                ready=lines[7].strip() == "ready" if lines[7:] else False,
            )
        return None

    @contextlib.contextmanager
    def starting(self, account: Account) -> Iterator[None]:
        """Make the directory, check it, and be the only one to start a server in it.

        Raises:
            ConfigurationError: the directory cannot be used.
            DatabaseUnavailableError: another process did not finish within 60 s.
        """
        while True:
            self._make()
            self._check(account)
            held = self._hold("start.lock", fcntl.LOCK_EX)
            if self._is_current("start.lock", held):
                break
            os.close(held)  # a temporary directory, removed while we waited
        try:
            yield
        finally:
            os.close(held)

    def join(self) -> int:
        """Become a user; closing the descriptor ends that. Waits while the server is stopped."""
        return self._hold("users.lock", fcntl.LOCK_SH)

    def password(self, account: Account, wanted: str | None) -> str:
        """Return the superuser's password, chosen by the first to ask."""
        path = self.path / "password"
        if not path.exists():
            fresh = self.path / "initdb-password"
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            account.own(descriptor)  # initdb reads it
            with os.fdopen(descriptor, "w") as file:
                file.write(wanted or secrets.token_urlsafe(18))
            fresh.rename(path)
        return path.read_text()

    def make_socket_directory(self, account: Account) -> Path:
        """Make a directory for the socket: here, or elsewhere if the path would be too long."""
        inside = self.path / "socket"
        if len(os.fsencode(inside / ".s.PGSQL.65535")) <= _SOCKET_PATH_LIMIT:
            account.make_directory(inside)
            return inside
        short = Path(tempfile.mkdtemp(prefix="automigrate-", dir=_SHORT_PLACE))
        account.own(short)
        return short

    def _make(self) -> None:
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
                path.chmod(_OPEN_TO_ALL)  # ours, whatever the umask says
        except OSError as error:
            raise ConfigurationError(
                f"the directory {self.path} cannot be made for PostgreSQL: {error.strerror}. "
                "Choose one that this user may write."
            ) from error

    def _check(self, account: Account) -> None:
        if not self.path.is_dir() or not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"{self.path} is not a directory that this user may write. Choose another one."
            )
        faults = []
        foreign = sorted(entry.name for entry in self.path.iterdir() if not _is_known(entry.name))
        if foreign:
            faults.append(
                f"{self.path} is neither empty nor a directory of embedded PostgreSQL: it holds "
                f"{foreign[0]}. Choose another one."
            )
        obstacle = account.obstacle(self.path)
        if obstacle is not None:
            faults.append(
                f"{self.path} cannot be reached by the account {account.name}, under which root "
                f"runs PostgreSQL: {obstacle} is closed to it. Choose a directory such as "
                "/var/lib/automigrate, or start this program as another user."
            )
        if faults:
            raise ConfigurationError(faults)

    def _hold(self, name: str, operation: int) -> int:
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(POLL_INTERVAL)
                    continue
                os.close(descriptor)
                raise DatabaseUnavailableError(
                    reason=f"another process is starting or stopping PostgreSQL in {self.path}",
                    remedy=f"See what the holder of {self.path / name} waits for.",
                    waited_seconds=_LOCK_TIMEOUT,
                ) from None
            return descriptor

    def _is_current(self, name: str, descriptor: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat((self.path / name).stat(), os.fstat(descriptor))
        return False

    def _is_denied(self, name: str, operation: int) -> bool:
        try:
            descriptor = os.open(self.path / name, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def _is_known(name: str) -> bool:
    return name in _KNOWN_NAMES or name.endswith(".lock") or name.startswith(_KNOWN_PREFIXES)
