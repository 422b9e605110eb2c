"""What checks find: a rule, how bad it is, where, and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automigrate.workflow.project import Project

__all__ = ["Finding", "Level", "about"]


class Level(enum.StrEnum):
    """How bad it is."""

    ERROR = "error"
    """The check fails."""
    WARNING = "warning"
    """Somebody should look; the check does not fail."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found."""

    rule: str
    level: Level
    message: str
    remedy: str = ""
    revision: str | None = None
    file: str | None = None
    line: int = 1

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{where}{self.level}: {self.message}{remedy} [{self.rule}]"


def about(
    project: Project,
    revision: str,
    rule: str,
    message: str,
    remedy: str,
    *,
    level: Level = Level.ERROR,
    line: int = 1,
) -> Finding:
    """Make a finding about a revision, in its file where a script defines it."""
    file = None
    if revision in project.graph:
        file = project.relative(project.graph[revision].file)
    return Finding(
        rule=rule,
        level=level,
        message=message,
        remedy=remedy,
        revision=revision,
        file=file,
        line=line,
    )
