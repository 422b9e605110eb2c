"""Local work on a database that cannot be had: every command says why, in one line, and ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

from automigrate.__main__ import main
from tests.support.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Database

SECRET = "s3cret of nobody"
SPOILT = {
    "no server": ({"port": "1"}, "Check that the server runs and that host, port and database"),
    "wrong password": ({"password": SECRET}, "Check user and password"),
    "no such database": ({"dbname": "nowhere"}, "Check user and password"),
}
COMMANDS = (
    "status",
    "history",
    "show one",
    "plan",
    "plan --since base",
    "verify",
    "verify --since base",
    "diff",
    "check",
    "check --gate",
    "push --yes",
    "pull --models-only",
    "reset --yes",
    "seed shop:fill",
    "baseline",
    "generate -m more --scratch server",
    "upgrade --log-format json",
)


@pytest.fixture(autouse=True)
def forget_models() -> Iterator[None]:
    """Import the models of a test anew, and leave none to tests with packages of that name."""
    sys.modules.pop("shop", None)
    yield
    sys.modules.pop("shop", None)


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_database_that_cannot_be_had_is_told_by_every_command(
    tmp_path: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoilt: str,
) -> None:
    """Exit code 4, the reason and the remedy in one line, no traceback, no password."""
    parts, remedy = SPOILT[spoilt]
    desk = Desk(tmp_path, database)
    desk.models("name: Mapped[str]")
    desk.run("init", "--models", "shop:Base")
    desk.run("new", "-m", "one", "--rev-id", "one")
    with (tmp_path / "shop.py").open("a") as file:
        file.write("\n\ndef fill() -> None:\n    pass\n")
    given = psycopg.conninfo.conninfo_to_dict(database.tcp_url)
    url = psycopg.conninfo.make_conninfo("", **{**given, **parts})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for command in COMMANDS:
        capsys.readouterr()
        code = main([*command.split(), "--database-url", url, "--timeout", "500ms"])
        told = capsys.readouterr().err
        assert code == 4, f"{command}: {told}"
        (line,) = [part for part in told.splitlines() if not part.startswith("{")]
        assert line.startswith("automigrate: error: "), command
        assert remedy in line, f"{command}: {line}"
        assert "?." not in line
        assert SECRET not in told
        assert str(given["password"]) not in told


def test_a_scratch_database_that_the_role_may_not_make_is_told(
    tmp_path: Path, database: Database
) -> None:
    """With the privilege that it lacks, and what does without it."""
    desk = Desk(tmp_path, database)
    desk.models("name: Mapped[str]")
    desk.run("init", "--models", "shop:Base")
    role = f"{database.name}_role"
    database.execute(f"create role {role} login")
    url = psycopg.conninfo.make_conninfo(database.url, user=role)
    try:
        told = desk.run("generate", "-m", "x", code=4, AUTOMIGRATE_DATABASE_URL=url)
    finally:
        database.execute(f"drop role {role}")
    assert "permission denied to create database" in told
    assert "Grant the role CREATEDB, or use the embedded server" in told
