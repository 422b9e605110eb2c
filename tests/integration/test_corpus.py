"""Every shape of project: automigrate does what plain Alembic does, and either can go on."""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.projects import sqlalchemy_url
from tests.support.servers import missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Database

CORPUS = Path(__file__).parent.parent / "corpus"
SHAPES = sorted(path.parent.name for path in CORPUS.glob("*/case.toml"))
_VERSION_TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and exists (select from pg_attribute a
  where a.attrelid = c.oid and a.attname = 'version_num' and not a.attisdropped)
order by 1, 2"""


@dataclass
class Shape:
    """A folder of the corpus, copied for one test, and what its `case.toml` says."""

    name: str
    directory: Path
    said: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def copy(cls, name: str, directory: Path) -> Shape:
        """Copy a folder of the corpus; compile its scripts where it ships them so."""
        source = CORPUS / name
        shutil.copytree(
            source, directory, ignore=shutil.ignore_patterns("__pycache__", "case.toml")
        )
        said = tomllib.loads((source / "case.toml").read_text())
        if "history" in said:
            versions = CORPUS / said["history"] / "migrations" / "versions"
            shutil.copytree(versions, directory / "migrations" / "versions", dirs_exist_ok=True)
        if said.get("compiled"):
            versions = directory / "migrations" / "versions"
            compileall.compile_dir(versions, quiet=2, legacy=True)
            for script in versions.glob("*.py"):
                script.unlink()
        return cls(name, directory, said)

    @property
    def target(self) -> str:
        """What is upgraded to."""
        return str(self.said.get("target", "head"))

    def alembic(
        self, database: Database, command: str, target: str, *, of: Database | None = None
    ) -> None:
        """Add a step of plain Alembic."""
        self._add("alembic", database, of, command=command, target=target)

    def automigrate(self, database: Database, *, of: Database | None = None) -> None:
        """Add a step of automigrate."""
        url = database.url
        self._add("automigrate", database, of, target=self.target, url=url)

    def run(self) -> list[dict[str, Any]]:
        """Run the steps in one process; return what came of each."""
        steps, self.steps = self.steps, []
        results_file = self.directory.with_name("results.json")
        done = subprocess.run(
            [sys.executable, str(CORPUS / "driver.py"), str(results_file)],
            cwd=self.directory,
            input=json.dumps(steps),
            env={
                **os.environ,
                "PYTHONPATH": str(CORPUS.parent.parent),
                "PYTHONWARNINGS": "ignore",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        results: list[dict[str, Any]] = json.loads(results_file.read_text())
        for step, result in zip(steps, results, strict=True):
            if "error" in result:
                pytest.fail(f"{step}: {result['error']}\n{done.stderr}", pytrace=False)
        return results

    def _add(self, tool: str, database: Database, second: Database | None, **step: Any) -> None:
        config = self._write_config(database, second)
        section = self.said.get("ini_section", "alembic")
        environment = {
            name: self._filled(value, database, second)
            for name, value in self.said.get("environment", {}).items()
        }
        self.steps.append(
            {
                "tool": tool,
                "options": ["-c", config.name, "-n", section] if config else [],
                "ini_section": section,
                "config": config.name if config else None,
                "environment": environment,
                "x_arguments": self.said.get("x_arguments", []),
                **step,
            }
        )

    def _write_config(self, database: Database, second: Database | None) -> Path | None:
        """Write a configuration of its own for each database, as the file names it."""
        template = self.directory / "alembic.ini"
        if not template.exists():
            return None
        config = self.directory / f"alembic_{database.name}.ini"
        config.write_text(self._filled(template.read_text(), database, second, percent="%%"))
        return config

    def _filled(
        self, text: str, database: Database, second: Database | None, percent: str = "%"
    ) -> str:
        url = sqlalchemy_url(database.url)
        other = sqlalchemy_url(second.url) if second is not None else url
        values = {
            "URL": url,
            "SECOND": other,
            "PSYCOPG2": url.replace("+psycopg", "+psycopg2"),
            "ASYNCPG": url.replace("+psycopg", "+asyncpg"),
            "NAME": database.name,
        }
        return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]].replace("%", percent), text)


def versions(database: Database) -> dict[tuple[str, str], list[str]]:
    """Return the rows of every version table."""
    return {
        (schema, table): sorted(
            row[0] for row in database.rows(f'select version_num from "{schema}"."{table}"')
        )
        for schema, table in database.rows(_VERSION_TABLES)
    }


def state(database: Database) -> tuple[str, dict[tuple[str, str], list[str]]]:
    """Return what must be the same whoever migrated."""
    return database.dump_schema(), versions(database)


@pytest.mark.parametrize("name", SHAPES)
def test_same_as_alembic(name: str, databases: Callable[[], Database], tmp_path: Path) -> None:
    """Schema and version rows become those that plain Alembic makes.

    From an empty database; on the newest server also half-way after Alembic, and again after
    Alembic has gone down to the base.
    """
    shape = Shape.copy(name, tmp_path / name)
    plain, fresh, half, again = made = [databases() for _ in range(4)]
    _require(shape, plain)
    for database in made:
        if "setup" in shape.said:
            database.execute(shape.said["setup"])
    for database in (plain, half):
        if "setup_alembic" in shape.said:
            database.execute(shape.said["setup_alembic"])
    middle = shape.said.get("middle") or _middle(shape)

    shape.alembic(plain, "upgrade", shape.target)
    if shape.said.get("unmanaged"):
        shape.alembic(fresh, "upgrade", middle)
        shape.alembic(again, "upgrade", middle)
    shape.automigrate(fresh)
    shape.automigrate(fresh)
    migrated = [fresh]
    if _is_newest(plain):
        migrated += [half, again]
        shape.alembic(half, "upgrade", middle)
        shape.automigrate(half)
        shape.automigrate(again)
        if shape.said.get("downgrade", True):
            shape.alembic(again, "downgrade", "base")
            shape.automigrate(again)
            shape.alembic(again, "upgrade", shape.target)
    results = [result for result in shape.run() if result]

    wanted = state(plain)
    assert wanted[1]
    assert all(rows for rows in wanted[1].values())
    if "heads" in shape.said:
        assert results[0]["heads"] == shape.said["heads"]
    assert results[0]["applied"]
    assert results[1]["applied"] == []
    assert results[1]["outcome"] == "unchanged"
    for database in migrated:
        assert state(database) == wanted
        assert not _open_rows(database)


def _middle(shape: Shape) -> str:
    from automigrate.scripts.location import locate
    from automigrate.scripts.reader import read

    files = (shape.directory / name for name in ("alembic.ini", "pyproject.toml"))
    config = next(path for path in files if path.exists())
    section = shape.said.get("ini_section", "alembic")
    sys.path.insert(0, str(shape.directory))
    try:
        graph = read(locate(config=config, cwd=shape.directory, ini_section=section))
    finally:
        sys.path.pop(0)
    order = graph.upgrade_order((), graph.resolve(shape.target))
    return order[(len(order) - 1) // 2]


def _require(shape: Shape, database: Database) -> None:
    """Skip where a package or an extension of the server is missing."""
    wanted = shape.said.get("requires_alembic", [])
    if [int(part) for part in version("alembic").split(".")[:2]] < wanted:
        pytest.skip(f"Alembic {version('alembic')} does not know this")
    for module in shape.said.get("requires", ()):
        if find_spec(module) is None:
            missing(f"package {module}")
    for extension in shape.said.get("extensions", ()):
        if not database.rows("select 1 from pg_available_extensions where name = %s", [extension]):
            pytest.skip(f"extension {extension} is missing on this server")


def _is_newest(database: Database) -> bool:
    (version,) = database.rows("show server_version_num")[0]
    return int(version) >= 180000


def _open_rows(database: Database) -> list[tuple[Any, ...]]:
    return [
        row
        for (schema,) in database.rows(
            "select schemaname from pg_tables where tablename = 'automigrate_journal'"
        )
        for row in database.rows(
            f"select * from \"{schema}\".automigrate_journal where state in ('running', 'failed')"
        )
    ]
