"""Two releases as two installed packages take turns on one database, forth and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.projects import Project

if TYPE_CHECKING:
    from tests.support.servers import Database

_ROOT = Path(__file__).parents[2]
_KEY = "a key that is in the deployment, and not in the database"

_APPLICATION = '''\
"""The application of one release: it migrates, serves one request, and says what it saw."""

import json
import sys

import psycopg

import automigrate

report = automigrate.upgrade(sys.argv[1], "shop:migrations", application_version={release!r})
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute({insert!r})
    rows = connection.execute({select!r}).fetchall()
print(json.dumps({{"verdict": report.verdict, "rows": rows}}))
'''


@dataclass(frozen=True)
class Release:
    """An image: a directory of installed packages, and nothing of the other one."""

    site: Path
    database: Database

    def serve(self) -> Any:
        """Start the application, as its container would."""
        return json.loads(self._run("-m", "shop", self.database.url).stdout)

    def automigrate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line inside the image."""
        return self._run(
            "-m",
            "automigrate",
            *arguments,
            f"--database-url={self.database.url}",
            "--script-location=shop:migrations",
            check=False,
        )

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name[:2] != "PG"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.site,
            env={
                **environment,
                "PYTHONPATH": f"{self.site}{os.pathsep}{_ROOT}",
                "AUTOMIGRATE_JOURNAL_KEY": _KEY,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done


def installed(site: Path, project: Project, release: str, insert: str, select: str) -> None:
    """Lay out a release as `pip install --target` does."""
    package = site / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        _APPLICATION.format(release=release, insert=insert, select=select)
    )
    project.scripts.rename(package / "migrations")


@pytest.fixture
def releases(tmp_path: Path, database: Database) -> tuple[Release, Release]:
    """Release 1, and release 2 with two revisions more."""
    one = Project(tmp_path / "source 1")
    one.add(
        "r1",
        upgrade="""
            op.create_table(
                "customer",
                sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
                sa.Column("name", sa.Text, nullable=False),
            )
        """,
        downgrade='op.drop_table("customer")',
    )
    two = one.copy(tmp_path / "source 2")
    two.add(
        "r2",
        upgrade="""
            op.alter_column("customer", "name", new_column_name="full_name")
            op.add_column("customer", sa.Column("city", sa.Text))
        """,
        downgrade="""
            op.drop_column("customer", "city")
            op.alter_column("customer", "full_name", new_column_name="name")
        """,
    )
    two.add(
        "r3",
        upgrade="""
            with op.get_context().autocommit_block():
                op.create_index("by_city", "customer", ["city"], postgresql_concurrently=True)
        """,
        downgrade="""
            with op.get_context().autocommit_block():
                op.drop_index("by_city", "customer", postgresql_concurrently=True)
        """,
    )
    installed(
        tmp_path / "image 1",
        one,
        "1",
        "insert into customer (name) values ('one')",
        "select id, name from customer order by id",
    )
    installed(
        tmp_path / "image 2",
        two,
        "2",
        "insert into customer (full_name) values ('two')",
        "select id, full_name from customer order by id",
    )
    return Release(tmp_path / "image 1", database), Release(tmp_path / "image 2", database)


def test_releases_take_turns(releases: tuple[Release, Release], database: Database) -> None:
    """Old, new, old again after a rollback to its code, and new again: schema and rows hold."""
    old, new = releases
    assert old.serve()["rows"] == [[1, "one"]]
    schema_of_old = database.dump_schema()
    assert new.serve()["rows"] == [[1, "one"], [2, "two"]]
    schema_of_new = database.dump_schema()

    refused = old.automigrate("rollback", "--to-code")
    assert refused.returncode == 10, refused.stderr
    assert "nobody can be asked" in refused.stderr
    assert database.dump_schema() == schema_of_new
    done = old.automigrate("rollback", "--to-code", "--yes")
    assert done.returncode == 0, done.stderr
    assert "ALTER TABLE customer RENAME full_name TO name" in done.stdout
    assert "undid 2 revisions: the schema is at r1" in done.stdout
    assert database.dump_schema() == schema_of_old
    served = old.serve()
    assert served == {"verdict": "current", "rows": [[1, "one"], [2, "two"], [3, "one"]]}

    rows = [[1, "one"], [2, "two"], [3, "one"], [4, "two"]]
    assert new.serve() == {"verdict": "behind", "rows": rows}
    assert database.dump_schema() == schema_of_new


def test_data_that_came_with_the_new_release_is_named(
    releases: tuple[Release, Release], database: Database
) -> None:
    """Values that only the newer release could write are announced, and need leave to go."""
    old, new = releases
    old.serve()
    new.serve()
    database.execute("update customer set city = 'Bern' where id = 1")
    refused = old.automigrate("rollback", "--to-code", "--yes")
    assert refused.returncode == 10
    assert "r2 drops column customer.city: 1 value" in refused.stderr
    plan = old.automigrate("rollback", "--to-code", "--plan", "--json")
    [loss] = json.loads(plan.stdout)["steps"][1]["losses"]
    assert (loss["table"], loss["column"], loss["count"]) == ("customer", "city", 1)
    done = old.automigrate("rollback", "--to-code", "--yes", "--allow-data-loss")
    assert done.returncode == 0, done.stderr
    assert old.serve()["rows"] == [[1, "one"], [2, "two"], [3, "one"]]


def test_a_tampered_journal_is_not_executed(
    releases: tuple[Release, Release], database: Database
) -> None:
    """Whoever can write to the journal cannot have a release execute it."""
    old, new = releases
    old.serve()
    new.serve()
    before = database.dump_schema()
    database.execute(
        "update automigrate_journal set downgrade_sql = 'drop table customer;' "
        "where revision = 'r2'"
    )
    refused = old.automigrate("rollback", "--to-code", "--yes", "--allow-data-loss")
    assert refused.returncode == 10
    assert "has a wrong signature" in refused.stderr
    assert database.dump_schema() == before
