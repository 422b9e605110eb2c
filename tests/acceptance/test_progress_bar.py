"""What a run shows on a terminal while it goes on, and what it leaves there."""

from __future__ import annotations

import os
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from tests.support.projects import Project
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from tests.support.servers import Database

ROOT = Path(__file__).parents[2]
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(info|warning) +\] automigrate\.\w+ ")
MOVES_UP = "\x1b[1A"
CONCURRENTLY = """
    with op.get_context().autocommit_block():
        op.execute("create index concurrently if not exists i on t_r0001 (id)")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """A project of three revisions, the second of which builds an index concurrently."""
    project = Project.linear(tmp_path / "shop", 1)
    project.add("r0002", upgrade=CONCURRENTLY, message="find them fast")
    project.add("r0003", upgrade='print("a script says this")')
    return project


def started(project: Project, database: Database, *arguments: str, **more: str) -> Terminal:
    """Start a command on a terminal."""
    foreign = ("AUTOMIGRATE_", "DATABASE_URL", "PG", "NO_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return Terminal(
        [sys.executable, "-m", "automigrate", *arguments],
        cwd=project.directory,
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "TERM": "xterm-256color",
            "DATABASE_URL": database.url,
            **more,
        },
    )


def holding(database: Database, table: str) -> psycopg.Connection:
    """Open a transaction that holds the lock of a writer on a table, under a name."""
    connection = psycopg.connect(database.url, application_name="nightly report")
    connection.execute(sql.SQL("lock table {} in row exclusive mode").format(sql.Identifier(table)))
    return connection


def test_an_upgrade_shows_where_it_is_and_who_is_in_its_way(
    shop: Project, database: Database
) -> None:
    """Revisions done, the message of the current one, phase of the index, blockers by name."""
    with started(shop, database, "upgrade", AUTOMIGRATE_TARGET="r0001") as first:
        assert first.end() == 0, first.lines
    with (
        closing(holding(database, "t_r0001")) as other,
        started(shop, database, "upgrade") as terminal,
    ):
        assert "0/2" in terminal.until("r0002 find them fast")
        assert "waiting for writers before build" in terminal.until("  index build: ")
        assert "nightly report" in terminal.until("has waited")
        assert terminal.cursor_shown
        other.commit()
        assert terminal.end() == 0, terminal.lines
        assert "\x1b[3" in terminal.sent
        assert not [line for line in terminal.lines if "0/2" in line or "has waited" in line]
        rest = [line for line in terminal.lines if not LOG_LINE.match(line)]
        assert rest.pop().startswith("automigrate: applied 2 revisions")
        assert rest == ["a script says this"]
        assert "\n".join(terminal.lines).count("automigrate.blockers_seen") == 1
        assert terminal.cursor_shown


def test_who_waits_for_another_process_sees_it(shop: Project, database: Database) -> None:
    """The holder of the lock is named, by `upgrade` and by `wait`, until it has done the work."""
    with started(shop, database, "upgrade", AUTOMIGRATE_TARGET="r0001") as first:
        assert first.end() == 0, first.lines
    with (
        closing(holding(database, "t_r0001")) as other,
        started(shop, database, "upgrade") as migrating,
    ):
        migrating.until("r0002 find them fast")
        with (
            started(shop, database, "upgrade") as upgrading,
            started(shop, database, "wait") as waiting,
        ):
            for terminal in (upgrading, waiting):
                terminal.until("another process migrates; waiting for it")
            assert "automigrate" in upgrading.until("  lock held by")
            other.commit()
            assert migrating.end() == upgrading.end() == waiting.end() == 0
            for terminal in (upgrading, waiting):
                shown = "\n".join(terminal.lines)
                assert "waiting for it" not in shown
                assert "  lock held by" not in shown


def test_a_rollback_shows_what_it_undoes(tmp_path: Path, database: Database) -> None:
    """As an upgrade does, backwards."""
    project = Project.linear(tmp_path / "shop", 2)
    with started(project, database, "upgrade") as first:
        assert first.end() == 0, first.lines
    with (
        closing(holding(database, "t_r0001")) as other,
        started(project, database, "rollback", "--to", "base", "--yes") as terminal,
    ):
        assert "1/2" in terminal.until("undoing r0001")
        terminal.until("has waited")
        other.rollback()
        assert terminal.end() == 0, terminal.lines
        assert terminal.lines[-1].startswith("automigrate: undid 2 revisions")
        assert not [line for line in terminal.lines if "undoing" in line]


def test_a_failure_leaves_the_error_and_no_bar(tmp_path: Path, database: Database) -> None:
    """The error is the last that stands there, as without a bar."""
    project = Project.linear(tmp_path / "shop", 1)
    project.add("r0002", upgrade='op.execute("select 1/0")')
    with started(project, database, "upgrade") as terminal:
        assert terminal.end() == 8
        assert MOVES_UP in terminal.sent or "\x1b[2K" in terminal.sent
        assert "division by zero" in "\n".join(terminal.lines)
        assert not [line for line in terminal.lines if "1/2" in line]
        assert terminal.cursor_shown


def test_no_color_means_a_bar_without_colours(shop: Project, database: Database) -> None:
    """https://no-color.org speaks of colours, not of drawing."""
    with started(shop, database, "upgrade", NO_COLOR="1") as terminal:
        assert terminal.end() == 0, terminal.lines
        assert "\x1b[2K" in terminal.sent
        assert not re.search(r"\x1b\[[\d;]*(3[0-7]|38;|9[0-7])[\d;]*m", terminal.sent)


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ((), {"TERM": "dumb"}),
        (("--log-format", "json"), {}),
    ],
    ids=["dumb", "json"],
)
def test_there_is_no_bar_where_none_is_wanted(
    shop: Project, database: Database, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    """A dumb terminal and a log for machines get plain lines."""
    with started(shop, database, "upgrade", *arguments, **variables) as terminal:
        assert terminal.end() == 0, terminal.lines
        assert "\x1b" not in terminal.sent


def test_nothing_pending_draws_nothing(shop: Project, database: Database) -> None:
    """And rich is not imported for it, on a terminal as little as elsewhere."""
    for _ in range(2):
        with started(shop, database, "upgrade", PYTHONPROFILEIMPORTTIME="1") as terminal:
            assert terminal.end() == 0, terminal.lines
    assert "nothing pending" in terminal.sent
    assert "\x1b" not in terminal.sent
    assert "automigrate.cli" in terminal.sent
    assert not re.search(r"\| +rich", terminal.sent)
