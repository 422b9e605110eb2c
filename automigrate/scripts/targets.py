"""What a target such as ``head``, ``ae10``, ``billing@head`` or ``-1`` means: Alembic's rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from automigrate.errors import ConfigurationError, MultipleHeadsError, names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from automigrate.scripts.lineage import Lineage

__all__ = ["counts_from_database", "downgrade_target", "identify", "upgrade_targets"]

RELATIVE = re.compile(r"(?:(.+?)@)?(\w+)?((?:\+|-)\d+)")
SHORTEST_KNOWN_NAME = 4


def upgrade_targets(
    lineage: Lineage, target: str, current: Collection[str] = ()
) -> tuple[str, ...]:
    """Resolve the target of an upgrade; empty for ``base``.

    Args:
        lineage: all revisions.
        target: ``head``, ``heads``, ``base``, an id or its unique beginning, a branch label, each
            also after ``label@``; ``id+2`` and ``id-2``; ``+2`` and ``label@+2``.
        current: heads of the database, from which ``+2`` counts.

    Raises:
        MultipleHeadsError: ``head`` was asked for and there are several.
        ConfigurationError: nothing matches, or more than one revision does.
    """
    relative = RELATIVE.match(target)
    if relative is None:
        return _absolute(lineage, target)
    label, symbol, steps = relative.group(1), relative.group(2), int(relative.group(3))
    if symbol is None and steps <= 0:
        _refuse(f"target {target!r} leads down, and an upgrade goes up. Name a revision.")
    if symbol is None:
        start = _start_of_branch(lineage, target, label, current)
        reached = _walk(lineage, start, steps, label)
    elif steps > 0:
        reached = _walk(lineage, _single(lineage, symbol), steps, label)
    else:
        named = symbol if label is None else f"{label}@{symbol}"
        reached = _walk(lineage, _single(lineage, named), steps)
    if reached is None:
        _refuse(
            f"target {target!r} leads past the {'last' if steps > 0 else 'first'} revision. "
            "Ask for fewer steps."
        )
    return (reached,)


def counts_from_database(target: str) -> bool:
    """Say whether the target, like ``+1``, has no meaning without the database's revision."""
    relative = RELATIVE.match(target)
    return relative is not None and relative.group(2) is None


def _branch_and_revision(target: str) -> tuple[str | None, str]:
    """Split ``label@revision``."""
    label, _, symbol = target.rpartition("@")
    return label or None, symbol


def downgrade_target(
    lineage: Lineage, target: str, current: Sequence[str]
) -> tuple[str | None, str | None]:
    """Resolve the target of a downgrade into the branch asked for and the revision to stop at.

    Args:
        lineage: all revisions.
        target: as in `upgrade_targets`; ``-2`` and ``label@-2`` count from `current`.
        current: heads of the database.

    Returns:
        The branch label or `None`, and the revision, `None` for the base.

    Raises:
        MultipleHeadsError: ``head`` was asked for and there are several.
        ConfigurationError: nothing matches, or more than one revision does.
    """
    relative = RELATIVE.match(target)
    if relative is None:
        label, symbol = _branch_and_revision(target)
        return label, _single(lineage, symbol)
    label, symbol, steps = relative.group(1), relative.group(2), int(relative.group(3))
    if symbol is None:
        if steps >= 0:
            _refuse(f"target {target!r} leads up, and a downgrade goes down. Name a revision.")
        symbol = _current_on_branch(lineage, target, label, current)
        label = label or symbol
    if steps >= 0:
        reached = _walk(lineage, _single(lineage, symbol), steps, label)
        if reached is None:
            _refuse(f"target {target!r} leads past the last revision. Ask for fewer steps.")
        return label, reached
    start = _single(lineage, symbol if label is None else f"{label}@{symbol}")
    return label, _walk_down_to_base(lineage, target, start, -steps)


def _absolute(lineage: Lineage, target: str) -> tuple[str, ...]:
    label, found = _expand(lineage, target)
    return tuple(identify(lineage, name, label) for name in found)


def _single(lineage: Lineage, target: str) -> str | None:
    found = _absolute(lineage, target)
    if len(found) > 1:
        raise multiple_heads(lineage, found)
    return found[0] if found else None


def _expand(lineage: Lineage, target: str) -> tuple[str | None, Sequence[str]]:
    label, at, symbol = target.partition("@")
    if not at:
        label, symbol = "", target
    match symbol:
        case "heads":
            chosen = _on_branch(lineage, lineage.heads, label) if label else lineage.real_heads
            return label or None, chosen
        case "head":
            chosen = _on_branch(lineage, lineage.heads, label) if label else lineage.heads
            if len(chosen) > 1:
                raise multiple_heads(lineage, chosen)
            return label or None, chosen
        case "base":
            return label or None, ()
        case _:
            return label or None, (symbol,)


def multiple_heads(lineage: Lineage, heads: Iterable[str]) -> MultipleHeadsError:
    """Build the error with the file of each head beside it."""
    ordered = sorted(heads)
    return MultipleHeadsError(heads=ordered, files=[lineage[head].file for head in ordered])


def _on_branch(lineage: Lineage, revisions: Iterable[str], label: str) -> tuple[str, ...]:
    """Keep the revisions that are above or below the one that carries the label."""
    named = identify(lineage, label)
    line = lineage.line_below([named]) | lineage.line_above([named])
    return tuple(name for name in revisions if name in line)


def identify(lineage: Lineage, name: str, label: str | None = None) -> str:
    """Find the one revision that has this id, label, or beginning of either.

    Raises:
        ConfigurationError: nothing matches, or more than one revision does.
    """
    if name in lineage:
        found = name
    elif name in lineage.labels:
        found = lineage.labels[name]
    else:
        found = _by_beginning(lineage, name, label)
    if label is not None and found not in _on_branch(lineage, [found], label):
        _refuse(f"revision {found!r} is not on branch {label!r}. Name one that is.")
    return found


def _by_beginning(lineage: Lineage, name: str, label: str | None) -> str:
    known = [
        (whole, whole if whole in lineage else lineage.labels[whole])
        for whole in (*lineage, *lineage.labels)
        if len(whole) >= SHORTEST_KNOWN_NAME and whole.startswith(name)
    ]
    if label is not None:
        line = _on_branch(lineage, {revision for _, revision in known}, label)
        known = [(whole, revision) for whole, revision in known if revision in line]
    if not known:
        _refuse(
            f"no revision or branch is called {name!r}. "
            f"The heads of the scripts are {names(lineage.heads)}."
        )
    if len(known) > 1:
        matches = names(repr(whole) for whole, _ in known)
        _refuse(f"{name!r} is the beginning of several names: {matches}. Write more of it.")
    return known[0][1]


def _walk(lineage: Lineage, start: str | None, steps: int, label: str | None = None) -> str | None:
    """Go up (steps > 0) or down; `None` is the base at the start, and past the end after it."""
    name = start
    for _ in range(abs(steps)):
        if steps < 0:
            found = lineage.heads if name is None else lineage[name].down_revisions
        else:
            found = lineage.bases if name is None else lineage.next_revisions[name]
            found = _on_branch(lineage, found, label) if label else found
        if not found:
            return None
        name = _only(found)
    return name


def _walk_down_to_base(lineage: Lineage, target: str, start: str | None, steps: int) -> str | None:
    """Go down, where one step below the first revision is the base (`None`)."""
    name = start if start is not None else _only(lineage.heads)
    for left in range(steps - (start is None), 0, -1):
        below = lineage[name].down_revisions
        if below:
            name = _only(below)
        elif left == 1:
            return None
        else:
            _refuse(f"target {target!r} leads past the first revision. Ask for fewer steps.")
    return name


def _only(found: Sequence[str]) -> str:
    if len(found) != 1:
        _refuse(
            f"a relative target is ambiguous here: the next step may be {names(sorted(found))}. "
            "Name the revision."
        )
    return found[0]


def _start_of_branch(
    lineage: Lineage, target: str, label: str | None, current: Collection[str]
) -> str | None:
    """Find where ``+N`` begins: the current head, the one on the branch, or the base."""
    starts: Collection[str] = tuple(dict.fromkeys(current))
    if label is not None:
        starts = _on_branch(lineage, starts, label)
        if not starts:
            applied = set(_on_branch(lineage, lineage.ancestors(current), label))
            built_on = {down for name in applied for down in lineage.dependencies_of(name)}
            starts = applied - built_on
    if len(starts) > 1:
        _refuse(
            f"target {target!r} is ambiguous: the database is at {names(sorted(starts))}. "
            "Name the revision."
        )
    return next(iter(starts), None)


def _current_on_branch(
    lineage: Lineage, target: str, label: str | None, current: Sequence[str]
) -> str:
    """Find where ``-N`` begins: the first current head, or the one on the branch."""
    starts: Collection[str] = current[:1]
    if label is not None:
        starts = _on_branch(lineage, current, label)
        if not starts:
            applied = lineage.ancestors(current)
            tips = [name for name in applied if applied.isdisjoint(lineage.next_revisions[name])]
            starts = _on_branch(lineage, tips, label)
    if len(starts) != 1:
        _refuse(
            f"target {target!r} counts from the current revision, and there are {len(starts)} "
            "of them to choose from. Name the revision."
        )
    return next(iter(starts))


def _refuse(text: str) -> NoReturn:
    raise ConfigurationError(text)
