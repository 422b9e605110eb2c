"""Every tool as a command for a database, and the floors that they are compared with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import histories

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.database.url import DatabaseURL

__all__ = ["FLOOR", "PSQL", "ROOT", "TOOLS", "Tool"]

ROOT = Path(__file__).parents[1]
CONNECT = """\
import psycopg, sys
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("select 1").fetchone()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A migration tool, as a process that brings a database to the newest revision."""

    name: str
    kind: str
    """Form of its history, as `histories.write` knows it."""
    arguments: Callable[[Path, DatabaseURL], list[str]]
    lock_file: bool = False

    def history(self, count: int, root: Path) -> Path:
        """Write its history, or find it."""
        if self.kind == "alembic" and self.lock_file:
            return _locked(count, root)
        return histories.write(self.kind, count, root)

    def start(self, directory: Path, url: DatabaseURL) -> subprocess.Popen[bytes]:
        """Start it."""
        return subprocess.Popen(
            self.arguments(directory, url),
            cwd=directory,
            env=environment(url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def seconds(self, directory: Path, url: DatabaseURL) -> float | None:
        """Run it and return how long it took; `None`: it failed."""
        begin = time.perf_counter()
        process = self.start(directory, url)
        _, errors = process.communicate()
        taken = time.perf_counter() - begin
        if process.returncode:
            sys.stderr.write(f"{self.name}: {errors.decode(errors='replace')[-300:]}\n")
            return None
        return taken


def environment(url: DatabaseURL) -> dict[str, str]:
    """Return what the tools read besides their arguments."""
    given = url.parameters
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENCH_DATABASE": given.get("dbname", ""),
        "BENCH_USER": given.get("user", ""),
        "BENCH_PASSWORD": given.get("password", ""),
        "BENCH_HOST": given.get("host", ""),
        "BENCH_PORT": given.get("port", "5432"),
        "BENCH_SQLALCHEMY_URL": url.sqlalchemy_url(),
        "DJANGO_SETTINGS_MODULE": "settings",
        "FLASK_APP": "app",
    }


def _locked(count: int, root: Path) -> Path:
    from automigrate.scripts import lockfile
    from automigrate.scripts.location import locate
    from automigrate.scripts.reader import read

    directory = root / f"locked-{count}"
    if not directory.exists():
        shutil.copytree(histories.write("alembic", count, root), directory)
        location = locate(directory / "migrations", cwd=directory)
        lockfile.write(location, read(location))
    return directory


def _automigrate(_directory: Path, url: DatabaseURL, *more: str) -> list[str]:
    command = [sys.executable, "-m", "automigrate", "upgrade"]
    return [*command, "--database-url", url.sqlalchemy_url("postgresql"), *more]


def _alembic(directory: Path, url: DatabaseURL) -> list[str]:
    ini = directory / "alembic.ini"
    text = ini.read_text().splitlines()
    escaped = url.sqlalchemy_url().replace("%", "%%")
    lines = [f"sqlalchemy.url = {escaped}" if x.startswith("sqlalchemy.url") else x for x in text]
    ini.write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "alembic", "upgrade", "head"]


def _dbmate(directory: Path, url: DatabaseURL) -> list[str]:
    given = dict(url.parameters)
    user = given.get("user", "")
    if given.get("password"):
        user += f":{given['password']}"
    place = f"host={given['host']}&port={given.get('port', '5432')}&sslmode=disable"
    return [
        str(Path(sys.executable).with_name("dbmate")),
        "--url",
        f"postgres://{user}@/{given['dbname']}?{place}",
        "--migrations-dir",
        str(directory),
        "--no-dump-schema",
        "migrate",
    ]


def _psql(directory: Path, url: DatabaseURL) -> list[str]:
    files = [x for file in sorted(directory.glob("*.sql")) for x in ("-f", str(file))]
    return ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", url.conninfo(), *files]


FLOOR = Tool(
    name="psycopg: connect, select, close",
    kind="psql",
    arguments=lambda _, url: [sys.executable, "-c", CONNECT, url.conninfo()],
)
PSQL = Tool(name="psql, a transaction per file", kind="psql", arguments=_psql)

TOOLS = (
    Tool(name="automigrate", kind="alembic", arguments=_automigrate, lock_file=True),
    Tool(name="automigrate, no lock file", kind="alembic", arguments=_automigrate),
    Tool(name="alembic", kind="alembic", arguments=_alembic),
    Tool(
        name="Flask-Migrate",
        kind="flask",
        arguments=lambda _, __: [sys.executable, "-m", "flask", "db", "upgrade"],
    ),
    Tool(
        name="Django",
        kind="django",
        arguments=lambda _, __: [sys.executable, "-m", "django", "migrate", "-v", "0"],
    ),
    Tool(
        name="yoyo",
        kind="yoyo",
        arguments=lambda directory, url: [
            str(Path(sys.executable).with_name("yoyo")),
            "apply",
            "--batch",
            "--no-config-file",
            "--database",
            url.sqlalchemy_url(),
            str(directory),
        ],
    ),
    Tool(name="dbmate", kind="dbmate", arguments=_dbmate),
)
EVERY = Tool(
    name="automigrate, commits=every",
    kind="alembic",
    arguments=lambda directory, url: _automigrate(directory, url, "--commits", "every"),
    lock_file=True,
)
