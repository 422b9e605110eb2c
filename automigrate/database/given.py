"""What applications give as their database, recognised without importing what it is made of.

An `Engine`, a SQLAlchemy URL or a pydantic DSN can only come from somebody who has imported its
class; a plain URL, which nearly everybody gives, needs nothing of this.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from automigrate.database import url_reading
from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["check_dialect", "is_engine", "url_given", "url_of_sqlalchemy"]


def url_given(database: object) -> DatabaseURL | None:
    """Return the URL in what was given, or that of an engine; `None`: it is of another kind.

    Raises:
        ConfigurationError: it cannot be used.
    """
    if _is_url(database):
        return url_of_sqlalchemy(database)
    if is_engine(database):
        return url_of_sqlalchemy(database.url)
    if _is_async_engine(database):
        return url_of_sqlalchemy(database.sync_engine.url)
    text = _text_of_pydantic(database)
    return None if text is None else DatabaseURL.parse(text)


def check_dialect(name: str) -> None:
    """Raise `ConfigurationError` where SQLAlchemy speaks to another kind of server."""
    if name != "postgresql":
        raise ConfigurationError(
            f"automigrate is for PostgreSQL, and the engine's dialect is {name}. "
            "Pass an engine created from a postgresql:// URL."
        )


def url_of_sqlalchemy(url: sqlalchemy.URL) -> DatabaseURL:
    """Translate it.

    Raises:
        ConfigurationError: it leads to another kind of server, or cannot be used.
    """
    check_dialect(url.get_backend_name())
    return DatabaseURL.of(_pairs_of_sqlalchemy(url))


def _pairs_of_sqlalchemy(url: sqlalchemy.URL) -> Iterator[tuple[str, str]]:
    yield "user", url.username or ""
    yield "password", str(url.password or "")
    yield "host", url.host or ""
    yield "port", str(url.port or "")
    yield "dbname", url.database or ""
    for name, value in url.query.items():
        values = (value,) if isinstance(value, str) else value
        if name == "host":
            yield from url_reading.host_list(values)
        else:
            yield name, values[-1]


def _is_of(value: object, module: str, name: str) -> bool:
    """Say whether the value is of a class of a module, without importing the module."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _is_url(value: object) -> TypeGuard[sqlalchemy.URL]:
    return _is_of(value, "sqlalchemy.engine", "URL")


def is_engine(value: object) -> TypeGuard[sqlalchemy.Engine]:
    """Whether it is SQLAlchemy's `Engine`."""
    return _is_of(value, "sqlalchemy.engine", "Engine")


def _is_async_engine(value: object) -> TypeGuard[AsyncEngine]:
    return _is_of(value, "sqlalchemy.ext.asyncio", "AsyncEngine")


def _text_of_pydantic(value: object) -> str | None:
    """Return the URL in a pydantic ``PostgresDsn`` or ``SecretStr``; other types are not ours."""
    if any(
        kind.__module__.partition(".")[0].startswith("pydantic") for kind in type(value).__mro__
    ):
        reveal = getattr(value, "get_secret_value", None)
        if callable(reveal):
            return str(reveal())
        if hasattr(value, "scheme"):
            return str(value)
    return None
