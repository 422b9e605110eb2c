"""Bring the journal into agreement with the version table and the scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.scripts.text import ScriptText

if TYPE_CHECKING:
    from collections.abc import Collection

    from automigrate.database.journal import Journal
    from automigrate.scripts.graph import ScriptGraph

__all__ = ["checksum_of", "reconcile"]


def reconcile(journal: Journal, graph: ScriptGraph, heads: Collection[str]) -> int:
    """Have the journal say that just these heads and what they stand on are applied.

    Rows of what is applied stay as they are; what has none gets a row in direction `stamp`. In the
    caller's transaction, under the lock. Revisions that the scripts do not define are left alone.

    Returns:
        How many rows were written or changed.
    """
    applied = graph.ancestors(head for head in heads if head in graph)
    latest = {entry.revision: entry for entry in journal.entries() if entry.state != "reverted"}
    changed = 0
    for revision in graph.upgrade_order((), tuple(applied)):
        entry = latest.get(revision)
        if entry is not None and entry.open:
            journal.resolve(revision, "applied")
        elif entry is None or entry.direction == "downgrade":
            journal.record(
                revision=revision,
                down_revisions=graph.dependencies_of(revision),
                direction="stamp",
                checksum=checksum_of(graph[revision].file),
            )
        else:
            continue
        changed += 1
    for revision, entry in latest.items():
        if revision in graph and revision not in applied and entry.direction != "downgrade":
            journal.revert(revision)
            changed += 1
    return changed


def checksum_of(file: str) -> str | None:
    """Checksum of a script; `None` where its source is not there."""
    text = ScriptText(file)
    return text.checksum if text.exists else None
