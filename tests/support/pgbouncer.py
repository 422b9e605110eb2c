"""A real PgBouncer in front of a server, in any pool mode."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.servers import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.embedded import EmbeddedServer

__all__ = ["PgBouncer", "pgbouncer"]

_CONFIG = """\
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 500
{extra}
"""
_NOBODY = "nobody"


class PgBouncer:
    """A running PgBouncer.

    Attributes:
        port: where it listens on 127.0.0.1.
        log: path of its log.
    """

    def __init__(self, server: EmbeddedServer, port: int, log: Path) -> None:
        self._server = server
        self.port = port
        self.log = log

    def url(self, database: str) -> str:
        """Return the URL of a database through the pooler, with the superuser's password."""
        return self._server.tcp_url(database, port=self.port)


@contextmanager
def pgbouncer(
    server: EmbeddedServer, mode: str, *, size: int = 3, extra: str = ""
) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of a server.

    Args:
        server: with password authentication (SCRAM) over TCP.
        mode: ``transaction``, ``session`` or ``statement``.
        size: server connections a database and user.
        extra: further lines of its configuration.
    """
    program = requires("pgbouncer")
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/tmp"))
    port = _free_port()
    (directory / "users").write_text(f'"{server.superuser}" "{server.password}"\n')
    (directory / "config").write_text(
        _CONFIG.format(
            server_port=server.port,
            port=port,
            directory=directory,
            mode=mode,
            size=size,
            extra=extra,
        )
    )
    log = directory / "log"
    user = None
    if os.geteuid() == 0:
        user = _NOBODY
        account = pwd.getpwnam(user)
        for path in (directory, *directory.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, str(directory / "config")],
            stdout=output,
            stderr=output,
            user=user,
            cwd=directory,
        )
    try:
        _wait_for(port, process, log)
        yield PgBouncer(server, port, log)
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(directory)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"PgBouncer did not start: {log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
