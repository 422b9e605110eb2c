"""Each "yes" in the comparison has a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from automigrate.cli.group import COMMANDS

ROOT = Path(__file__).parents[2]


def rows() -> list[list[str]]:
    """Return the cells of the table."""
    text = (ROOT / "docs" / "comparison.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
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
    """The cell says yes, its commands exist, and so does the test that it names."""
    what, ours, proof, *others = row
    assert ours.startswith("yes"), what
    assert proof.strip("`") in known
    assert len(others) == 6
    for name in re.findall(r"`([a-z]+)", ours):
        assert name in COMMANDS or name in {"automigrate", "embedded"}, name
