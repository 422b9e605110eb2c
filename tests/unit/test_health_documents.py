from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

from automigrate.errors import AutomigrateError
from automigrate.events import Event, Phase
from automigrate.health.metrics import Metrics
from automigrate.logs import CATALOGUE
from tests.unit.health_support import FakeMigrator

DOCS = Path(__file__).parents[2] / "docs"


def rows(document: str) -> list[list[str]]:
    """Return the rows of all tables of a document, cell by cell."""
    lines = (DOCS / document).read_text().splitlines()
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]


def test_the_event_catalogue_lists_every_event_with_its_fields_and_log_entry() -> None:
    """The document is what the code says, no more and no less."""
    documented = {
        row[0].strip("`"): (re.findall(r"`(\w+)`", row[1]), row[3].strip("`"))
        for row in rows("events.md")
        if row[0].startswith("`")
    }
    assert documented == {
        event.__name__: ([field.name for field in fields(event)], CATALOGUE[event].name)
        for event in get_args(Event)
    }


def test_every_metric_is_documented() -> None:
    """Names and types of the table are those of a scrape."""
    documented = {
        (re.sub(r"\{.*", "", row[0].strip("`")), row[1])
        for row in rows("health.md")
        if row[0].startswith("`automigrate_")
    }
    scraped = {
        (line.split()[2], line.split()[3])
        for line in Metrics(FakeMigrator()).render().decode().splitlines()
        if line.startswith("# TYPE automigrate_") and "_created" not in line
    }
    assert documented == scraped


def test_every_phase_is_documented() -> None:
    """The list of phases in the document is complete."""
    text = (DOCS / "health.md").read_text()
    for phase in Phase:
        assert f"`{phase.value}`" in text


def exit_codes(kind: type[AutomigrateError]) -> set[int]:
    """Return the exit codes of an error and of all below it."""
    return {kind.exit_code}.union(*(exit_codes(below) for below in kind.__subclasses__()))


def test_every_exit_code_is_sorted_into_retried_or_not() -> None:
    """Each exit code but that of a bug is in exactly one of the two lists."""
    text = (DOCS / "kubernetes.md").read_text()
    sentence = next(line for line in text.splitlines() if line.startswith("A retry helps after"))
    helps, _, rest = sentence.partition("; it does not after")
    useless = rest.partition(". ")[0]
    told = [int(code) for part in (helps, useless) for code in re.findall(r"\b(\d+) \(", part)]
    assert sorted(told) == sorted(exit_codes(AutomigrateError) - {1})
