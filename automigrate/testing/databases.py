"""Databases for tests: empty ones, and clones of one that was migrated once."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automigrate.database.url import DatabaseURL
from automigrate.workflow.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

__all__ = ["Database", "Databases", "serving"]

# A template without a session in it is copied file by file: 30 to 300 ms.
CLONE = "create database {} template {}"
CREATE = "create database {} template template0"
DROP = "drop database if exists {} with (force)"

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "synchronous_commit": "off",
}
"""Nothing on a server of our own outlives it."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database of one test.

    Attributes:
        url: where it is, as libpq reads it.
        name: its name.
    """

    url: str
    name: str

    def sqlalchemy_url(self, drivername: str = "postgresql+psycopg") -> str:
        """Return its URL for `create_engine`, with the driver that the application uses."""
        return DatabaseURL.parse(self.url).sqlalchemy_url(drivername)

    def connect(self, **parameters: Any) -> psycopg.Connection[Any]:
        """Open a session; the caller closes it."""
        import psycopg

        return psycopg.connect(self.url, **parameters)

    def __str__(self) -> str:
        return self.url


class Databases:
    """A server on which a test run makes databases, and drops what it made."""

    def __init__(self, maintenance: DatabaseURL) -> None:
        self._maintenance = maintenance
        self._numbers = itertools.count(1)

    @property
    def scratch(self) -> Scratch:
        """The same server for rehearsals."""
        return Scratch(self._maintenance)

    @contextmanager
    def database(self, template: Database | None = None) -> Iterator[Database]:
        """Make a database, empty or a clone, and drop it in the end with the sessions in it."""
        made = self.create(template)
        try:
            yield made
        finally:
            self.drop(made)

    def create(self, template: Database | None = None) -> Database:
        """Make a database, empty or a clone of one without sessions."""
        name = f"automigrate_test_{os.getpid()}_{next(self._numbers)}"
        if template is None:
            self._execute(CREATE, name)
        else:
            self._execute(CLONE, name, template.name)
        url = DatabaseURL.of({**self._maintenance.parameters, "dbname": name}.items())
        return Database(url.sqlalchemy_url("postgresql"), name)

    def drop(self, database: Database) -> None:
        """Drop a database with the sessions in it."""
        self._execute(DROP, database.name)

    def _execute(self, statement: str, *names: str) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(self._maintenance.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def serving(url: str | None) -> Iterator[Databases]:
    """Give the server that a URL names, or one of our own from the wheel.

    Args:
        url: its role needs CREATEDB; the database that it names is never touched.
    """
    if url is not None:
        yield Databases(DatabaseURL.parse(url))
        return
    from automigrate.embedded import EmbeddedServer

    with EmbeddedServer.start(settings=SETTINGS) as server:
        yield Databases(DatabaseURL.parse(server.url()))
