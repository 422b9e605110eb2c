"""Errors of our session that are psycopg2's as well, for revisions that catch those."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["psycopg2_errors"]


@contextmanager
def psycopg2_errors() -> Iterator[None]:
    """Raise errors of both drivers: we, and SQLAlchemy, know them by the other half."""
    try:
        yield
    except psycopg.Error as error:
        raised: Any = type(error)
        kind = _error_of_both(raised, error.sqlstate)
        if isinstance(error, kind):
            raise
        both = kind.__new__(kind, *error.args)
        both.__dict__.update(error.__dict__)
        raise both from error


@cache
def _error_of_both(kind: Any, sqlstate: str | None) -> Any:
    try:
        import psycopg2
        import psycopg2.errors

        theirs: Any = psycopg2.errors.lookup(sqlstate or "")
    except ImportError:  # the driver is psycopg2cffi
        return kind
    except KeyError:
        names = [base.__name__ for base in kind.__mro__]
        theirs = getattr(psycopg2, next(name for name in names if hasattr(psycopg2, name)))
    if issubclass(kind, theirs):
        return kind
    return type(
        kind.__name__,
        (kind, theirs),
        {
            "__module__": kind.__module__,
            "pgcode": property(lambda self: self.sqlstate),
            "pgerror": property(str),
        },
    )
