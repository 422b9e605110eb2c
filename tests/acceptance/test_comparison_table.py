"""Each "yes" of ours in the comparison has a test that exists, each row a note with its sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from automigrate.cli.group import COMMANDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "comparison.md").read_text("utf-8")
NOTES = dict(re.findall(r"^\[\^([a-z]+)\]: (.+)$", PAGE, re.MULTILINE))
PAGES = dict(re.findall(r"^\[([a-z0-9-]+)\]: (https://\S+)$", PAGE, re.MULTILINE))
TOOLS = ("drizzle-kit", "Alembic", "Flask-Migrate", "Prisma", "Atlas", "Django")
VERDICTS = {"yes", "part", "–", "not documented"}  # noqa: RUF001 - the dash of the page


def rows() -> list[list[str]]:
    """Return the cells of the table."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names_of_tests() -> set[str]:
    """Collect the names of all tests."""
    return {
        node.name
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The names of all tests."""
    return names_of_tests()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_each_yes_is_proved(row: list[str], known: set[str]) -> None:
    """The cell says yes, its commands exist, and so do the tests that it names."""
    what, ours, proof, *others = row
    assert ours.startswith("yes"), what
    assert re.fullmatch(r"`test_\w+`(, `test_\w+`)*", proof), what
    assert set(re.findall(r"test_\w+", proof)) <= known
    assert len(others) == 6
    for name in re.findall(r"`([a-z]+)", ours):
        assert name in COMMANDS or name in {"automigrate", "embedded"}, name


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_each_row_names_the_pages_that_it_rests_on(row: list[str]) -> None:
    """What is said of other tools is one of four words, and the note of the row links pages."""
    what, _, _, *others = row
    assert set(others) <= VERDICTS
    (note,) = re.findall(r"\[\^([a-z]+)\]$", what)
    assert re.search(r"\]\[[a-z0-9-]+\]", NOTES[note])
    for tool, verdict in zip(TOOLS, others, strict=True):
        assert verdict == "not documented" or tool in NOTES[note], tool


def test_no_page_is_missing_and_none_unused() -> None:
    """Each link of the page has an address, and each address a link; so have the notes a row."""
    assert set(re.findall(r"\]\[([a-z0-9-]+)\]", PAGE)) == set(PAGES)
    assert {note for row in rows() for note in re.findall(r"\[\^([a-z]+)\]", row[0])} == set(NOTES)
