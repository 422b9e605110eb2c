"""One PostgreSQL server: started, asked, restarted, copied into a standby, stopped."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from automigrate.embedded import binaries as programs, watchdog
from automigrate.embedded.account import Account
from automigrate.embedded.directory import ServerDirectory
from automigrate.embedded.process import HOST, ServerProcess
from automigrate.errors import ConfigurationError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from automigrate.embedded.process import StopMode

__all__ = ["EmbeddedServer"]

_PROMOTE = "select pg_promote(true, 60)"


class EmbeddedServer:
    """A PostgreSQL server that ends with its user, however that user ends.

    A context manager: leaving it stops the server. `start` makes one; not for production: one
    server on one machine, without TLS.

    Attributes:
        superuser: the role that the URLs name by default.
        password: password of `superuser`, needed over TCP only.
        host: ``127.0.0.1``.
    """

    host = HOST

    def __init__(
        self,
        place: ServerDirectory,
        account: Account,
        *,
        users: int,
        settings: Mapping[str, str] | None = None,
        superuser: str = "postgres",
        listen_port: int | None = None,
        password: str | None = None,
        binaries: Path | None = None,
        temporary: bool = False,
    ) -> None:
        """Describe a server that is not running yet; the caller holds `place.starting`."""
        self.superuser = superuser
        self.password = place.password(account, password)
        self._place = place
        self._account = account
        self._binaries = programs.reachable(binaries or programs.wheel(), place.path, account)
        self._settings = {"listen_addresses": HOST, **(settings or {})}
        self._temporary = temporary
        self._users = users
        self._process = ServerProcess(
            place,
            account,
            binaries=self._binaries,
            settings=self._settings,
            superuser=superuser,
            port=listen_port,
            temporary=temporary,
        )

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
    ) -> Self:
        """Start a server of our own, which no other process may be running.

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
        account = Account.choose()
        place = (
            ServerDirectory.temporary(account)
            if directory is None
            else ServerDirectory(directory.absolute())
        )
        return cls._start(
            place,
            account,
            settings=settings,
            superuser=superuser,
            listen_port=listen_port,
            password=password,
            binaries=binaries,
            temporary=directory is None,
        )

    @classmethod
    def _start(
        cls, place: ServerDirectory, account: Account, *, temporary: bool, **options: Any
    ) -> Self:
        with contextlib.ExitStack() as undo:
            if temporary:
                undo.callback(watchdog.remove_directory, place.path)
            with place.starting(account):
                if place.is_running:
                    raise ConfigurationError(
                        f"{place.path} is in use: another process runs PostgreSQL on it. "
                        "Stop that one, choose another directory, or share it with embedded.use()."
                    )
                users = place.join()
                undo.callback(os.close, users)
                server = cls(place, account, users=users, temporary=temporary, **options)
                server._process.start()
            undo.pop_all()
            return server

    @property
    def port(self) -> int:
        """The TCP port, and a part of the socket's name."""
        return self._process.port

    @property
    def socket_directory(self) -> Path:
        """Where the Unix socket is."""
        return self._process.socket_directory

    @property
    def directory(self) -> Path:
        """What the server keeps, the log included."""
        return self._place.path

    @property
    def data_directory(self) -> Path:
        """Where PostgreSQL keeps its data (PGDATA)."""
        return self._place.data

    @property
    def log_path(self) -> Path:
        """The server's log; it only grows."""
        return self._place.log

    @property
    def pid(self) -> int:
        """Process id of the postmaster.

        Raises:
            DatabaseUnavailableError: the server does not run.
        """
        found = self._place.pid_file()
        if found is None:
            raise DatabaseUnavailableError(reason=f"no PostgreSQL runs on {self.directory}")
        return found.pid

    def binary(self, name: str) -> Path:
        """Return the path of a program of this PostgreSQL, such as ``pg_dump``."""
        return self._binaries / name

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this PostgreSQL, as the superuser on the Unix socket by default.

        Raises:
            subprocess.CalledProcessError: it failed; ``stderr`` says why.
        """
        own = Account(name="", uid=os.geteuid(), gid=os.getegid(), switch=False)
        return programs.run([self.binary(program), *arguments], own, self._client_environment())

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

    def ensure_database(self, name: str) -> str:
        """Create a database unless it exists, and return its URL."""
        from psycopg.errors import DuplicateDatabase

        with contextlib.suppress(DuplicateDatabase):
            self.create_database(name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, ending the sessions in it."""
        from psycopg import sql

        self._execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )

    def start_standby(self, *, settings: Mapping[str, str] | None = None) -> EmbeddedServer:
        """Copy this server into a streaming standby, readable at once; end it with `promote`.

        Takes a base backup: waits for a checkpoint and for the copy. The standby is temporary.

        Raises:
            DatabaseUnavailableError: the copy failed, or the standby did not start.
        """
        place = ServerDirectory.temporary(self._account)
        self._account.make_directory(place.data)
        command: list[str | Path] = [
            self.binary("pg_basebackup"),
            f"--pgdata={place.data}",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ]
        try:
            programs.run(command, self._account, self._client_environment())
        except subprocess.CalledProcessError as error:
            watchdog.remove_directory(place.path)
            raise DatabaseUnavailableError(
                reason=f"pg_basebackup failed: {error.stderr.strip()}"
            ) from error
        return self._start(
            place,
            self._account,
            settings={**self._settings, **(settings or {})},
            superuser=self.superuser,
            password=self.password,
            binaries=self._binaries,
            temporary=True,
        )

    def promote(self) -> None:
        """Make this standby a primary; returns when it accepts writes (at most 60 s)."""
        self._execute(_PROMOTE)

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server and start it again on the same port and data; see `stop`.

        Also starts a server that was killed or has crashed.
        """
        self._process.shut_down(mode)
        self._process.start()

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server, and remove its directory if it is temporary; waits for the end.

        A second call does nothing.

        Raises:
            DatabaseUnavailableError: it did not stop within 60 s (mode ``smart``).
        """
        if self._users < 0:
            return
        self._process.shut_down(mode)
        os.close(self._users)
        self._users = -1
        if self._temporary:
            watchdog.remove_directory(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start_or_attach(self) -> None:
        """Start the server, unless another process runs it already; see `sharing.shared`."""
        self._process.start_or_attach()

    def _execute(self, statement: Any) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _client_environment(self) -> dict[str, str]:
        return {
            **programs.ENVIRONMENT,
            "PGHOST": str(self.socket_directory),
            "PGPORT": str(self.port),
            "PGUSER": self.superuser,
        }


def _credentials(user: str, password: str | None) -> str:
    secret = "" if password is None else f":{quote(password, safe='')}"
    return f"{quote(user, safe='')}{secret}"
