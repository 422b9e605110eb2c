"""The documentation's table of locks is what the tests see."""

from __future__ import annotations

import os
from pathlib import Path

from tests.integration.test_workflow_verify import KINDS, Kind

PAGE = Path(__file__).parents[2] / "docs" / "locks.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def row(name: str, kind: Kind) -> str:
    """Write one kind of DDL as a row of the table."""
    locks = ", ".join(f"{mode} on {table}" for table, mode in kind.locks.items()) or "none"
    does = [f"rewrites {table}" for table in kind.rewritten]
    does += [f"scans {table}" for table in kind.scanned]
    sql = " ".join(kind.sql.split()).replace("|", "\\|")
    return f"| {name} | `{sql}` | {locks} | {', '.join(does) or 'nothing'} |"


def table() -> str:
    """Write the whole table."""
    head = "| what | statement | locks | besides |\n| --- | --- | --- | --- |\n"
    return head + "\n".join(row(name, kind) for name, kind in KINDS.items()) + "\n"


def test_the_page_shows_what_is_seen() -> None:
    """Each row is a parameter of the test that sees it; `AUTOMIGRATE_WRITE_DOCS=1` writes them."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("AUTOMIGRATE_WRITE_DOCS") == "1":
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
        shown = table()
    assert shown == table()


def test_there_are_at_least_25_kinds() -> None:
    """No kind is written twice under two names."""
    assert len({kind.sql + kind.before for kind in KINDS.values()}) >= 25
