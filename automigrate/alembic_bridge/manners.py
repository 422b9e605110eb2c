"""Parameters as psycopg2 sends them, for revisions that were written under it.

psycopg2 writes parameters into the statement as literals, whose type PostgreSQL finds from where
they stand. Under psycopg 3 SQLAlchemy casts each of them to the type of the Python value, so that
`text("update t set number = :n")` with `n="16"`, which works with psycopg2, is refused: the column
is an integer and the expression a varchar. Revisions must do what they do under plain Alembic with
the project's own driver, so our session writes literals where that driver is psycopg2.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import ClientCursor
from psycopg.adapt import Dumper, Transformer
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg.types.string import TextLoader
from sqlalchemy import event

from automigrate.alembic_bridge.psycopg2_api import speak_psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from sqlalchemy.engine import Connection

    from automigrate.alembic_bridge.watch import Watch

__all__ = ["speak_as", "write_json_as"]

_LITERAL_DRIVERS = {"psycopg2", "psycopg2cffi"}
_AS_TEXT = ("inet", "cidr")


class _TupleDumper(Dumper):
    """`where id in :ids` with a tuple; psycopg 3 makes a composite value of it."""

    def dump(self, obj: tuple[Any, ...]) -> bytes:
        return self.quote(obj)

    def quote(self, obj: tuple[Any, ...]) -> bytes:
        transformer = Transformer(self.connection)
        return b"(" + b", ".join(bytes(transformer.as_literal(item)) for item in obj) + b")"


def write_json_as(theirs: Connection, ours: Connection, raw: psycopg.Connection[Any]) -> None:
    """Write and read JSON with the functions that env.py gave to its engine.

    Args:
        theirs: env.py's connection.
        ours: our connection.
        raw: the session that it is on.
    """
    for name, use in (("_json_serializer", set_json_dumps), ("_json_deserializer", set_json_loads)):
        function = getattr(theirs.dialect, name, None)
        if function is not None and function is not getattr(ours.dialect, name):
            setattr(ours.dialect, name, function)
            _on_each_session(ours, raw, partial(use, function))


def speak_as(
    driver: str,
    connection: Connection,
    raw: psycopg.Connection[Any],
    watch: Watch | None = None,
) -> None:
    """Make a SQLAlchemy connection on our session send parameters as a driver does.

    For as long as the session lives: what automigrate itself asks of it works either way.

    Args:
        driver: the driver that the revisions have under plain Alembic.
        connection: before anything was compiled for it.
        raw: the session that it is on.
        watch: follows what revisions run.
    """
    dialect: Any = connection.dialect
    if driver not in _LITERAL_DRIVERS or not dialect._bind_typing_render_casts:  # noqa: SLF001
        return
    dialect._bind_typing_render_casts = False  # noqa: SLF001 - no option says it

    def write_literals(session: psycopg.Connection[Any]) -> None:
        session.cursor_factory = ClientCursor
        speak_psycopg2(session, watch if session is raw else None)
        session.adapters.register_dumper(tuple, _TupleDumper)
        for name in _AS_TEXT:
            session.adapters.register_loader(name, TextLoader)

    _on_each_session(connection, raw, write_literals)


def _on_each_session(
    connection: Connection,
    raw: psycopg.Connection[Any],
    teach: Callable[[psycopg.Connection[Any]], object],
) -> None:
    """Teach our session, and those that a revision opens from the engine: the dialect is one."""
    teach(raw)
    event.listen(connection.engine, "connect", lambda session, _record: teach(session))
