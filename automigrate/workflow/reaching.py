"""Say why the database cannot be asked, without a password."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.exc import DBAPIError

from automigrate.database.url import scrub
from automigrate.errors import DatabaseUnavailableError, PermissionDeniedError
from automigrate.sqlstate import Fault, classify_connecting, sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.database.url import DatabaseURL

__all__ = ["reaching"]


@contextmanager
def reaching(url: DatabaseURL) -> Iterator[None]:
    """Translate the driver's errors.

    Raises:
        PermissionDeniedError: the server lets the role not in, or a privilege is missing.
        DatabaseUnavailableError: anything else.
    """
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        cause = getattr(error, "orig", None) or error
        reason = scrub(f"{url.describe()}: {str(cause).strip()}", url.secrets)
        kept_out = not sqlstate_of(cause) and classify_connecting(cause) is Fault.REFUSED
        if kept_out or isinstance(cause, psycopg.errors.InsufficientPrivilege):
            raise PermissionDeniedError(reason=reason) from error
        raise DatabaseUnavailableError(reason=reason) from error
