"""Databases for one benchmark run, on a server of our own or a given one."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from automigrate.database.url import DatabaseURL

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Databases"]

_NUMBERS = itertools.count(1)


class Databases:
    """Makes databases, and drops them only in the end.

    Not before: for minutes after many files were deleted, ext4 takes several times as long to make
    one, because it passes over inodes that were deleted lately; and a table is half a dozen files.
    """

    def __init__(self, url: str) -> None:
        self.server = DatabaseURL.parse(url)
        self._names: list[str] = []

    @classmethod
    @contextlib.contextmanager
    def on(cls, url: str | None, *, connections: int = 100) -> Iterator[Databases]:
        """Use the server of a URL, or one from the wheel with PostgreSQL's own settings.

        Args:
            url: of the given server.
            connections: the `max_connections` of one from the wheel.
        """
        if url is not None:
            databases = cls(url)
            try:
                yield databases
            finally:
                databases.drop_all()
            return
        from automigrate.embedded import EmbeddedServer

        # fsync is on, as by default.
        with EmbeddedServer.start(settings={"max_connections": str(connections)}) as server:
            yield cls(server.url())

    def new(self, template: DatabaseURL | None = None) -> DatabaseURL:
        """Create a database, and let the server write back what it owes the disk."""
        name = f"automigrate_bench_{os.getpid()}_{next(_NUMBERS)}"
        source = "template0" if template is None else template.parameters["dbname"]
        self._execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(source)
            )
        )
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            self._execute(sql.SQL("checkpoint"))
        self._names.append(name)
        return DatabaseURL.of([*self.server.parameters.items(), ("dbname", name)])

    def drop_all(self) -> None:
        """Drop what is left."""
        for name in list(self._names):
            self._execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )
        self._names.clear()

    def row(self, url: DatabaseURL, query: str) -> tuple[Any, ...]:
        """Ask one question."""
        with psycopg.connect(url.conninfo(), autocommit=True) as connection:
            found = connection.execute(query.encode()).fetchone()
            assert found is not None
            return found

    def version(self) -> str:
        """Return the server's version."""
        return str(self.row(self.server, "show server_version")[0])

    def _execute(self, statement: Any) -> None:
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            connection.execute(statement)
