"""Which revisions a rollback undoes, also those that this code has no scripts for. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from automigrate.alembic_bridge.work import Descent
from automigrate.errors import ConfigurationError, DivergedError, names
from automigrate.scripts.graph import Revision, ScriptGraph

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from automigrate.database.journal import Recorded

__all__ = ["remaining", "to_code", "to_target", "with_newer"]


def with_newer(
    graph: ScriptGraph,
    heads: Sequence[str],
    wanted: Collection[str],
    recorded: Mapping[str, Recorded],
) -> ScriptGraph:
    """Add to the scripts' graph what the journal knows of the revisions of a newer release.

    Raises:
        DivergedError: the journal does not know what one of them is built on.
    """
    newer: dict[str, Revision] = {}
    queue = [head for head in heads if head not in graph]
    while queue:
        revision = queue.pop()
        if revision in graph or revision in newer:
            continue
        if revision not in recorded:
            raise DivergedError(
                current=heads,
                wanted=tuple(wanted),
                revisions=(revision,),
                detail="the journal does not know what it is built on",
            )
        newer[revision] = Revision(revision, recorded[revision].down_revisions)
        queue.extend(recorded[revision].down_revisions)
    if not newer:
        return graph
    return ScriptGraph([*(graph[name] for name in graph), *newer.values()])


def to_code(graph: ScriptGraph, heads: Sequence[str], wanted: Collection[str]) -> Descent:
    """Undo all that the wanted heads do not need.

    Raises:
        DivergedError: there is something to undo, and the database lacks some of what is wanted.
    """
    order = graph.rollback_order(heads, wanted)
    lacking = graph.ancestors(wanted) - graph.ancestors(heads)
    if order and lacking:
        raise DivergedError(
            current=heads,
            wanted=tuple(wanted),
            detail=f"{names(sorted(lacking))} of this code are not applied",
        )
    return _descent(graph, heads, order)


def to_target(graph: ScriptGraph, heads: Sequence[str], target: str) -> Descent:
    """Undo what stands on a target, as `alembic downgrade` would.

    From a single head, `-2` means the two newest revisions also where a merge is among them, which
    Alembic finds ambiguous.

    Raises:
        ConfigurationError: the target cannot be used.
    """
    counted = re.fullmatch(r"-(\d+)", target)
    if counted is not None and len(heads) == 1:
        order, count = graph.rollback_order(heads, ()), int(counted[1])
        if count > len(order):
            raise ConfigurationError(
                f"only {len(order)} revisions are applied, so {count} cannot be undone."
            )
        return _descent(graph, heads, order[:count])
    return _descent(graph, heads, graph.downgrade_order(heads, target))


def remaining(descent: Descent, heads: Collection[str]) -> Descent | None:
    """Return what is left of a descent that has come to these heads; `None`: it never would."""
    applied = set(descent.graph.ancestors([*descent.order, *descent.heads]))
    for undone in range(len(descent.order) + 1):
        left = applied.difference(descent.order[:undone])
        if descent.graph.effective_heads(left) == set(heads):
            return Descent(
                order=descent.order[undone:],
                heads=descent.heads,
                graph=descent.graph,
                recorded=descent.recorded,
            )
    return None


def _descent(graph: ScriptGraph, heads: Sequence[str], order: tuple[str, ...]) -> Descent:
    left = graph.ancestors(heads).difference(order)
    return Descent(order=order, heads=graph.effective_heads(left), graph=graph)
