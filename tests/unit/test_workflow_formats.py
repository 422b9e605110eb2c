"""Findings in every format."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from automigrate.workflow.findings import Finding, Level
from automigrate.workflow.formats import FORMATS, Check, render

CHECKS = (
    Check(name="heads", title="There is a single head", seconds=0.25),
    Check(name="applied", title="No script was edited", skipped="no database was named"),
    Check(
        name="lint",
        title="Traffic flows",
        findings=(
            Finding(
                rule="table-rewrite",
                level=Level.ERROR,
                message="100% blocked: a, b\nfor long",
                remedy="Don't.",
                revision="r1",
                file="migrations/versions/r1,x.py",
                line=7,
            ),
            Finding(rule="note", level=Level.NOTE, message="so it is"),
        ),
    ),
)


def test_text_marks_each_check() -> None:
    """Passed, failed and skipped are told apart in the first column."""
    lines = render(CHECKS, "text").splitlines()
    assert lines[0] == "ok      There is a single head"
    assert lines[1] == "skipped No script was edited: no database was named"
    assert lines[2] == "FAILED  Traffic flows"
    assert "migrations/versions/r1,x.py:7: error: 100% blocked" in lines[3]


def test_github_escapes_what_its_commands_are_made_of() -> None:
    """Percent, newline, comma and colon do not end a command or a property."""
    first, second = render(CHECKS, "github").splitlines()
    assert first == (
        "::error file=migrations/versions/r1%2Cx.py,line=7,title=automigrate%3A table-rewrite"
        "::100%25 blocked: a, b%0Afor long Don't."
    )
    assert second == "::notice title=automigrate%3A note::so it is"


def test_sarif_places_results() -> None:
    """Level, rule, file and line are where readers of SARIF 2.1.0 look for them."""
    run = json.loads(render(CHECKS, "sarif"))["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["table-rewrite", "note"]
    result, note = run["results"]
    assert result["level"] == "error"
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (
        "migrations/versions/r1,x.py",
        7,
    )
    assert "locations" not in note


def test_junit_has_a_case_per_check() -> None:
    """Failures and skips are counted."""
    suite = ET.fromstring(render(CHECKS, "junit").partition("\n")[2])
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [case.find("failure") is not None for case in suite] == [False, False, True]


@pytest.mark.parametrize("form", FORMATS)
def test_no_finding_is_well_formed_in_every_format(form: str) -> None:
    """An empty report parses."""
    text = render(CHECKS[:1], form)
    if form in {"json", "sarif"}:
        json.loads(text)
    elif form == "junit":
        ET.fromstring(text.partition("\n")[2])
    else:
        assert "error" not in text
