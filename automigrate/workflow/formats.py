"""Findings as text, JSON, GitHub annotations, SARIF and JUnit."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from automigrate import __version__
from automigrate.workflow.findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FORMATS", "Check", "render"]

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_GITHUB = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question and its answer."""

    name: str
    title: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    """Why it was not asked."""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it found an error."""
        return any(finding.level is Level.ERROR for finding in self.findings)

    @property
    def warned(self) -> bool:
        """Whether it found something that somebody should look at."""
        return any(finding.level is Level.WARNING for finding in self.findings)


def render(checks: Sequence[Check], form: str) -> str:
    """Write the answers in one of `FORMATS`."""
    return FORMATS[form](checks)


def _text(checks: Sequence[Check]) -> str:
    lines = []
    for check in checks:
        mark = "skipped" if check.skipped else "FAILED" if check.failed else "ok"
        lines.append(f"{mark:8}{check.title}" + (f": {check.skipped}" if check.skipped else ""))
        lines += [f"        {finding}" for finding in check.findings]
    return "\n".join(lines)


def _json(checks: Sequence[Check]) -> str:
    value = {
        "ok": not any(check.failed for check in checks),
        "checks": [{**dataclasses.asdict(check), "failed": check.failed} for check in checks],
    }
    return json.dumps(value, ensure_ascii=False)


def _github(checks: Sequence[Check]) -> str:
    """Write workflow commands (docs.github.com, Workflow commands)."""
    return "\n".join(
        f"::{_GITHUB[finding.level]} {_properties(finding)}::"
        f"{_escaped(f'{finding.message} {finding.remedy}'.strip())}"
        for check in checks
        for finding in check.findings
    )


def _properties(finding: Finding) -> str:
    given = {"title": f"automigrate: {finding.rule}"}
    if finding.file:
        given = {"file": finding.file, "line": str(finding.line), **given}
    return ",".join(
        f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}"
        for name, value in given.items()
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _sarif(checks: Sequence[Check]) -> str:
    """Write SARIF 2.1.0, as code scanning services take it."""
    rules = {finding.rule: check.title for check in checks for finding in check.findings}
    driver = {
        "name": "automigrate",
        "version": __version__,
        "rules": [
            {"id": rule, "shortDescription": {"text": title}} for rule, title in rules.items()
        ],
    }
    results = [_sarif_result(finding) for check in checks for finding in check.findings]
    value = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(value, ensure_ascii=False)


def _sarif_result(finding: Finding) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": finding.level.value,
        "message": {"text": f"{finding.message} {finding.remedy}".strip()},
    }
    if finding.file:
        place = {
            "artifactLocation": {"uri": finding.file.replace("\\", "/")},
            "region": {"startLine": finding.line},
        }
        result["locations"] = [{"physicalLocation": place}]
    return result


def _junit(checks: Sequence[Check]) -> str:
    """Write one test case per check, with one failure for all that it found."""
    suite = ET.Element(
        "testsuite",
        name="automigrate",
        tests=str(len(checks)),
        failures=str(sum(check.failed for check in checks)),
        skipped=str(sum(bool(check.skipped) for check in checks)),
        errors="0",
        time=f"{sum(check.seconds for check in checks):.3f}",
    )
    for check in checks:
        case = ET.SubElement(
            suite,
            "testcase",
            classname="automigrate",
            name=check.title,
            time=f"{check.seconds:.3f}",
        )
        if check.skipped:
            ET.SubElement(case, "skipped", message=check.skipped)
        told = "\n".join(str(finding) for finding in check.findings)
        if check.failed:
            errors = [finding for finding in check.findings if finding.level is Level.ERROR]
            ET.SubElement(case, "failure", message=errors[0].message).text = told
        elif told:
            ET.SubElement(case, "system-out").text = told
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode")


FORMATS: Mapping[str, Callable[[Sequence[Check]], str]] = {
    "text": _text,
    "json": _json,
    "github": _github,
    "sarif": _sarif,
    "junit": _junit,
}
"""Name → writer."""
