"""The order in which revisions are applied and reverted: Alembic's, in linear time.

Alembic keeps the full ancestry of every open head to know whether a revision may come next. The
same question has a shorter answer, and the same order follows from it: a revision is blocked as
long as something that stands on it has not been listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from automigrate.scripts.lineage import Lineage

__all__ = ["newest_first"]


def newest_first(
    lineage: Lineage, revisions: Collection[str], heads: Collection[str]
) -> tuple[str, ...]:
    """List the revisions so that each one comes before everything it stands on.

    Equal to Alembic's `RevisionMap._topological_sort`, except that several dependencies of one
    revision follow as written, where Alembic's order changes from process to process (it iterates
    over a set).

    Args:
        lineage: all revisions.
        revisions: what to list; with two revisions also everything between them.
        heads: where to begin; every listed revision is one of them or below one.
    """
    todo = set(revisions)
    open_heads = sorted(todo.intersection(heads), key=lineage.position.__getitem__)
    listed: list[str] = []
    index = 0
    while open_heads:
        candidate = open_heads[index]
        above = _open_above(lineage, candidate, todo)
        if above:
            index = next(i for i, name in enumerate(open_heads) if name in above)
            continue
        listed.append(candidate)
        todo.discard(candidate)
        following = [
            name
            for name in lineage.dependencies_of(candidate)
            if name in todo and name not in open_heads
        ]
        if following:
            open_heads[index] = following[0]
            open_heads.extend(following[1:])
        else:
            del open_heads[index]
            index = max(index - 1, 0)
    return tuple(listed)


def _open_above(lineage: Lineage, candidate: str, todo: set[str]) -> set[str]:
    """Collect what stands on the candidate and has not been listed; usually nothing."""
    above: set[str] = set()
    stack = [name for name in lineage.dependents[candidate] if name in todo]
    while stack:
        name = stack.pop()
        if name not in above:
            above.add(name)
            stack.extend(child for child in lineage.dependents[name] if child in todo)
    return above
