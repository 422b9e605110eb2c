"""What checks find: a rule, how bad it is, where, and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Finding", "Level"]


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
