"""The revisions that one change becomes: their order, and what each does and undoes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alembic.operations import ops

from automigrate.workflow.operations import Autocommit, Nothing, Remark

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Draft", "Phase"]


class Phase(enum.Enum):
    """The revisions that one change may need, in order; the value is said in the message."""

    TYPES = "enum values"
    """New values of enum types, which must be committed before they are used."""
    MAIN = ""
    """Everything that is quick."""
    BACKFILL = "fill in"
    """Values for rows that exist, which only the person at work knows."""
    VALIDATE = "validate"
    """Proofs over existing rows that block no writes."""
    INDEXES = "indexes"
    """What runs outside of a transaction."""


@dataclass(slots=True)
class Draft:
    """The revisions to be written."""

    upgrade: dict[Phase, list[ops.MigrateOperation]] = field(
        default_factory=lambda: {phase: [] for phase in Phase}
    )
    downgrade: dict[Phase, list[ops.MigrateOperation]] = field(
        default_factory=lambda: {phase: [] for phase in Phase}
    )
    """In the order of the upgrade; a downgrade runs it backwards."""
    concurrent: list[tuple[ops.MigrateOperation, ops.MigrateOperation]] = field(
        default_factory=list
    )
    attached: list[tuple[ops.MigrateOperation, ops.MigrateOperation]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(
        self, phase: Phase, upgrade: ops.MigrateOperation, downgrade: ops.MigrateOperation | None
    ) -> None:
        """Add an operation and what undoes it."""
        self.upgrade[phase].append(upgrade)
        if downgrade is not None:
            self.downgrade[phase].append(downgrade)

    def phases(self) -> Iterator[tuple[Phase, ops.UpgradeOps, ops.DowngradeOps]]:
        """Yield the revisions that have something to do."""
        for phase in Phase:
            upgrade, downgrade = self.upgrade[phase], self.downgrade[phase][::-1]
            if phase is Phase.INDEXES and (self.concurrent or self.attached):
                upgrade = [*upgrade, Autocommit([up for up, _ in self.concurrent])]
                upgrade += [up for up, _ in self.attached]
                outside = [down for _, down in reversed(self.concurrent)]
                downgrade = [down for _, down in reversed(self.attached)] + downgrade
                outside = [down for down in outside if not isinstance(down, Remark)]
                downgrade += [Autocommit(outside)] if outside else []
            if upgrade:
                yield phase, ops.UpgradeOps(_body(upgrade)), ops.DowngradeOps(_body(downgrade))


def _body(operations: list[ops.MigrateOperation]) -> list[ops.MigrateOperation]:
    """Make the body of a function that may have remarks only."""
    if all(isinstance(operation, Remark) for operation in operations):
        return [*operations, Nothing()]
    return operations
