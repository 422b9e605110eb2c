"""What revisions written for psycopg2 call on the driver's own connection and cursor.

`op.get_bind().connection.cursor()` gives them ours, which is psycopg 3's. It gets what psycopg2's
has and this one has not: `copy_expert`, `copy_from`, `copy_to`, a `mogrify` of bytes (on which
`psycopg2.extras.execute_values` and `execute_batch` stand), the rows of the cursor classes in
`psycopg2.extras`, `set_isolation_level`, and errors that are psycopg2's as well. What a script runs
so is told to the revision's conduct, as what SQLAlchemy runs is.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import ClientCursor, sql
from psycopg.adapt import Dumper, Transformer
from psycopg.pq import ExecStatus
from psycopg.rows import dict_row, namedtuple_row
from psycopg.types.string import ByteaLoader

from automigrate.alembic_bridge.psycopg2_errors import psycopg2_errors
from automigrate.database.wire import encoding_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automigrate.alembic_bridge.watch import Watch

__all__ = ["speak_psycopg2"]

_CHUNK = 65536
_QUOTING = (
    "psycopg2._range.DateRange",
    "psycopg2._range.DateTimeRange",
    "psycopg2._range.DateTimeTZRange",
    "psycopg2._range.NumericRange",
    "psycopg2.extensions.AsIs",
    "psycopg2.extensions.Binary",
    "psycopg2.extras.Inet",
)
"""Classes that know the literal of their value; they need not be imported for this."""


def speak_psycopg2(raw: psycopg.Connection[Any], watch: Watch | None) -> None:
    """Give a connection what psycopg2's has, for as long as it lives.

    Args:
        raw: ours.
        watch: follows what revisions run.
    """
    kind: Any = type(raw)
    if not issubclass(kind, _Psycopg2Connection):
        raw.__class__ = _of_both(kind)
    raw.watch = watch  # type: ignore[attr-defined]
    raw.writes = raw.info.encoding  # type: ignore[attr-defined]
    raw.adapters.register_loader("bytea", _MemoryviewLoader)
    raw.adapters.register_dumper("psycopg2._json.Json", _JsonDumper)
    for name in _QUOTING:
        raw.adapters.register_dumper(name, _QuotingDumper)


@cache
def _of_both(kind: Any) -> Any:
    return type(kind.__name__, (_Psycopg2Connection, kind), {})


class _Psycopg2Connection(psycopg.Connection[Any]):
    """What psycopg2's connection has."""

    encoding = "UTF8"
    watch: Watch | None
    writes: str
    """What statements are written in, whatever is set by SQL."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run a statement of automigrate's own: psycopg2 has no such method."""
        return ClientCursor(self).execute(*args, **kwargs)

    def cursor(self, name: str = "", cursor_factory: Any = None, **kwargs: Any) -> Any:
        """Return a cursor, with the rows that a class of `psycopg2.extras` makes."""
        if name:
            return super().cursor(name, **kwargs)
        kind = getattr(cursor_factory, "__name__", "")
        return _Psycopg2Cursor(self, row_factory=_ROWS.get(kind, self.row_factory))

    def set_isolation_level(self, level: Any) -> None:
        """Do without transactions (0), or have them again."""
        conduct = None if self.watch is None else self.watch.conduct
        if conduct is not None:
            conduct.set_autocommit(on=level == 0)

    def set_session(self, *, autocommit: bool | None = None, **_: Any) -> None:
        """Do without transactions, or have them again."""
        if autocommit is not None:
            self.set_isolation_level(0 if autocommit else 1)

    @property
    def dsn(self) -> str:
        """The connection string, without the password."""
        return self.info.dsn

    def get_dsn_parameters(self) -> dict[str, str]:
        """Return what the connection string says, without the password."""
        return self.info.get_parameters()

    @property
    def server_version(self) -> int:
        """The server's version as a number."""
        return self.info.server_version

    def get_backend_pid(self) -> int:
        """Return the process of the server."""
        return self.info.backend_pid


class _Psycopg2Cursor(ClientCursor[Any]):
    """What psycopg2's cursor has; its result is that of the last of several statements."""

    def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
        """Run one statement or several."""

        def run(text: str) -> None:
            super(_Psycopg2Cursor, self).execute(text.encode(self._writes), params)
            while self.nextset():
                pass

        self._run(self._text(query), run)
        return self

    def executemany(self, query: Any, params_seq: Any, **_: Any) -> None:
        """Run a statement for each set of parameters."""
        many = super().executemany
        self._run(self._text(query), lambda text: many(text.encode(self._writes), params_seq))

    def mogrify(self, query: Any, params: Any = None) -> Any:
        """Return a statement with its parameters in it, as bytes."""
        return (
            super()
            .mogrify(self._text(query).encode(self._writes), params)
            .encode(self.connection.info.encoding)
        )

    def copy_expert(self, query: Any, file: Any, size: int = _CHUNK) -> None:
        """Copy from a file or into one, as the statement says."""

        def run(text: str) -> None:
            with self.copy(text.encode()) as copy:
                if self.pgresult is not None and self.pgresult.status == ExecStatus.COPY_IN:
                    while block := file.read(size):
                        copy.write(block)
                else:
                    _write(copy, file)

        self._run(self._text(query), run)

    def copy_from(  # noqa: PLR0917 - psycopg2's
        self,
        file: Any,
        table: str,
        sep: str = "\t",
        null: str = "\\N",
        size: int = _CHUNK,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Fill a table from a file."""
        self.copy_expert(self._copy("from stdin", table, columns, sep, null), file, size)

    def copy_to(
        self,
        file: Any,
        table: str,
        sep: str = "\t",
        null: str = "\\N",
        columns: Sequence[str] | None = None,
    ) -> None:
        """Write a table into a file."""
        self.copy_expert(self._copy("to stdout", table, columns, sep, null), file)

    def _copy(
        self, direction: str, table: str, columns: Sequence[str] | None, sep: str, null: str
    ) -> str:
        names = sql.SQL(", ").join(map(sql.Identifier, columns or ()))
        return (
            sql.SQL("copy {}{} {} with (delimiter {}, null {})")
            .format(
                sql.Identifier(table),
                sql.SQL(" ({})").format(names) if columns else sql.SQL(""),
                sql.SQL(direction),
                sql.Literal(sep),
                sql.Literal(null),
            )
            .as_string(self)
        )

    @property
    def _writes(self) -> str:
        return encoding_of(self.connection)

    def _text(self, query: Any) -> str:
        if isinstance(query, bytes):
            return query.decode()
        return query if isinstance(query, str) else _composed(query).as_string(self)

    def _run(self, text: str, run: Callable[[str], object]) -> None:
        watch: Watch | None = getattr(self.connection, "watch", None)
        with psycopg2_errors():
            if watch is None:
                run(text)
            else:
                watch.by_hand(text, run)


class _EitherRow(list[Any]):
    """A row of `psycopg2.extras.DictCursor`: by position and by name."""

    def __init__(self, values: Sequence[Any], names: Sequence[str]) -> None:
        super().__init__(values)
        self._names = names

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._names.index(key) if isinstance(key, str) else key)

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return self._names


def _either_row(cursor: Any) -> Callable[[Sequence[Any]], _EitherRow]:
    names = [column.name for column in cursor.description or ()]
    return lambda values: _EitherRow(values, names)


_ROWS: dict[str, Any] = {
    "DictCursor": _either_row,
    "NamedTupleCursor": namedtuple_row,
    "RealDictCursor": dict_row,
}


class _MemoryviewLoader(ByteaLoader):
    def load(self, data: Any) -> Any:
        return memoryview(super().load(bytes(data)))


class _QuotingDumper(Dumper):
    def dump(self, obj: Any) -> Any:
        return self.quote(obj)

    def quote(self, obj: Any) -> Any:
        from psycopg2.extensions import adapt

        return adapt(obj).getquoted()


class _JsonDumper(Dumper):
    def dump(self, obj: Any) -> Any:
        return self.quote(obj)

    def quote(self, obj: Any) -> Any:
        return Transformer(self.connection).as_literal(obj.dumps(obj.adapted))


def _write(copy: psycopg.Copy, file: Any) -> None:
    for block in copy:
        piece = bytes(block)
        try:
            file.write(piece)
        except TypeError:  # a file of text
            file.write(piece.decode())


def _composed(query: Any) -> sql.Composable:
    """Return psycopg's object for one of `psycopg2.sql`.

    Raises:
        TypeError: it is none.
    """
    match type(query).__name__:
        case "Composed":
            return sql.Composed([_composed(part) for part in query.seq])
        case "SQL":
            return sql.SQL(query.string)
        case "Identifier":
            return sql.Identifier(*query.strings)
        case "Literal":
            return sql.Literal(query.wrapped)
        case "Placeholder":
            return sql.Placeholder(query.name or "")
    msg = f"a statement is text, bytes or of psycopg2.sql, not {type(query).__name__}"
    raise TypeError(msg)
