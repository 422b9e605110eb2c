"""Revisions and how they are built on each other: a checked, immutable graph.

Edges are of two kinds, as in Alembic. `down_revision` makes history: heads, bases and branches are
defined by it alone. `depends_on` adds an order between branches: what it names counts as applied
with the revision, so the version table does not list it ("real heads").
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from automigrate.errors import BrokenHistoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Lineage", "Revision"]

REMEMBERED_WALKS = 8
"""A run asks again and again for what stands below the same few heads."""
ILLEGAL_IN_REVISION = frozenset("@-+")


class Revision(NamedTuple):
    """The identifiers of one migration script, as written in it.

    Attributes:
        revision: its id.
        down_revisions: the ids it is built on; several in a merge, none in a base.
        depends_on: ids or branch labels that must be applied before it.
        branch_labels: names it gives to its branch.
        file: path of the script.
        doc: first paragraph of its docstring.
    """

    revision: str
    down_revisions: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    file: str = ""
    doc: str = ""


class Lineage:
    """A checked set of revisions with its edges; every walk is iterative and linear.

    Iteration and `heads` keep the order in which the revisions were given (that of the files),
    because Alembic breaks ties by it.
    """

    def __init__(self, revisions: Iterable[Revision]) -> None:
        """Check the revisions.

        Raises:
            BrokenHistoryError: an id defined twice or not allowed, a name that no script defines,
                a bad branch label, or a cycle; all of them are listed.
        """
        listed = list(revisions)
        self._revisions: dict[str, Revision] = {item.revision: item for item in listed}
        faults: list[str] = []
        if len(self._revisions) < len(listed):
            faults += _duplicates(listed)
        self.labels: dict[str, str] = _labels(self._revisions, faults)
        self._parents: dict[str, tuple[str, ...]] = {}
        for item in self._revisions.values():
            if not ILLEGAL_IN_REVISION.isdisjoint(item.revision):
                faults.append(
                    f"{item.file}: revision id {item.revision!r} contains one of '@', '-', '+', "
                    "which Alembic reserves for targets. Give it another id."
                )
            self._parents[item.revision] = self._resolved_parents(item, faults)
        faults += _cycles(self._parents)
        if faults:
            raise BrokenHistoryError(faults)

    def _resolved_parents(self, item: Revision, faults: list[str]) -> tuple[str, ...]:
        parents = list(item.down_revisions)
        for name in item.down_revisions:
            if name not in self._revisions:
                faults.append(self._unknown(item, "down_revision", name))
                parents.remove(name)
        for name in item.depends_on:
            known = name if name in self._revisions else self.labels.get(name)
            if known is None:
                faults.append(self._unknown(item, "depends_on", name))
            elif known not in parents:
                parents.append(known)
        return tuple(parents)

    def _unknown(self, item: Revision, where: str, name: str) -> str:
        text = f"{item.file}: {where} names {name!r}, which no script defines."
        longer = [known for known in self._revisions if name and known.startswith(name)]
        if len(longer) == 1:
            return f"{text} Alembic takes no abbreviations here: write {longer[0]!r}."
        if name in self.labels:
            return f"{text} It is a branch label: write {self.labels[name]!r}."
        remedy = "Restore the missing script, or correct the name"
        near = _nearest(name, self._revisions)
        return f"{text} {remedy}{f' (the nearest known is {near!r})' if near else ''}."

    def __contains__(self, revision: object) -> bool:
        return revision in self._revisions

    def __getitem__(self, revision: str) -> Revision:
        return self._revisions[revision]

    def __len__(self) -> int:
        return len(self._revisions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._revisions)

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Revisions that no `down_revision` names: Alembic's heads."""
        built_on = {name for item in self._revisions.values() for name in item.down_revisions}
        return tuple(name for name in self._revisions if name not in built_on)

    @cached_property
    def real_heads(self) -> tuple[str, ...]:
        """Heads less what any `depends_on` names: what the version table holds at the end."""
        built_on = {name for parents in self._parents.values() for name in parents}
        return tuple(name for name in self._revisions if name not in built_on)

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """Revisions without `down_revision`."""
        return tuple(item.revision for item in self._revisions.values() if not item.down_revisions)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Place of each revision in the order of the files."""
        return {name: index for index, name in enumerate(self._revisions)}

    @cached_property
    def next_revisions(self) -> Mapping[str, tuple[str, ...]]:
        """Revisions built on each one by `down_revision`."""
        return _reversed({item.revision: item.down_revisions for item in self._revisions.values()})

    @cached_property
    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """Revisions built on each one by `down_revision` or `depends_on`."""
        return _reversed(self._parents)

    @cached_property
    def _named_by(self) -> Mapping[str, tuple[str, ...]]:
        """Revisions that name each one in `depends_on`."""
        return _reversed({name: self.resolved_depends_on(name) for name in self._revisions})

    def resolved_depends_on(self, revision: str) -> tuple[str, ...]:
        """List what `depends_on` names, with revision ids in place of labels."""
        written = self._revisions[revision].depends_on
        resolved = (name if name in self._revisions else self.labels[name] for name in written)
        return tuple(dict.fromkeys(resolved)) if written else ()

    @cached_property
    def _normalized(self) -> dict[str, tuple[str, ...]]:
        return {}

    def dependencies_of(self, revision: str) -> tuple[str, ...]:
        """List what a revision stands on directly: down revisions, then what it depends on.

        A dependency is left out when a revision below on the same branch already has it, as in
        Alembic's version table bookkeeping.
        """
        item = self._revisions[revision]
        if not item.depends_on:
            return item.down_revisions
        known = self._normalized.get(revision)
        if known is None:
            kept = [
                name
                for name in self.resolved_depends_on(revision)
                if not self._has_below(revision, name)
            ]
            known = tuple(dict.fromkeys((*item.down_revisions, *kept)))
            self._normalized[revision] = known
        return known

    def _has_below(self, revision: str, dependency: str) -> bool:
        others = [name for name in self._named_by[dependency] if name != revision]
        return bool(others) and not self.line_below([revision]).isdisjoint(others)

    def ancestors(self, revisions: Iterable[str]) -> frozenset[str]:
        """Collect the revisions and all that they stand on, by either kind of edge."""
        start = frozenset(revisions)
        found = self._ancestors.get(start)
        if found is None:
            if len(self._ancestors) >= REMEMBERED_WALKS:
                self._ancestors.clear()
            found = self._ancestors[start] = walk(start, self._parents.__getitem__)
        return found

    @cached_property
    def _ancestors(self) -> dict[frozenset[str], frozenset[str]]:
        return {}

    def descendants(self, revisions: Iterable[str]) -> frozenset[str]:
        """Collect the revisions and all that stand on them, by either kind of edge."""
        return walk(revisions, self.dependents.__getitem__)

    def line_below(self, revisions: Iterable[str]) -> frozenset[str]:
        """Collect the revisions and all below them by `down_revision` alone."""
        return walk(revisions, lambda name: self._revisions[name].down_revisions)

    def line_above(self, revisions: Iterable[str]) -> frozenset[str]:
        """Collect the revisions and all above them by `down_revision` alone."""
        return walk(revisions, self.next_revisions.__getitem__)

    def effective_heads(self, revisions: Iterable[str]) -> frozenset[str]:
        """Drop every revision that another one of them stands on.

        This is what the version table holds when exactly these and their ancestors are applied.
        """
        given = frozenset(revisions)
        below = [name for revision in given for name in self._parents[revision]]
        return given - walk(below, self._parents.__getitem__)


def walk(start: Iterable[str], edges: Callable[[str], Iterable[str]]) -> frozenset[str]:
    """Collect everything that can be reached, the start included."""
    todo = list(start)
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            todo.extend(edges(name))
            seen.add(name)
    return frozenset(seen)


def _reversed(edges: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    result: dict[str, list[str]] = {name: [] for name in edges}
    for name, targets in edges.items():
        for target in targets:
            result[target].append(name)
    return {name: tuple(sources) for name, sources in result.items()}


def _duplicates(listed: list[Revision]) -> list[str]:
    files: dict[str, list[str]] = {}
    for item in listed:
        files.setdefault(item.revision, []).append(item.file)
    return [
        f"revision {name!r} is defined by {len(paths)} scripts: {', '.join(paths)}. "
        "Delete the stale one, or give one of them a new id."
        for name, paths in files.items()
        if len(paths) > 1
    ]


def _labels(revisions: Mapping[str, Revision], faults: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for item in revisions.values():
        for label in item.branch_labels:
            other = revisions.get(label) or revisions.get(labels.get(label, ""))
            if other is None:
                labels[label] = item.revision
                continue
            use = "is already the id" if other.revision == label else "is already a label"
            faults.append(
                f"{item.file}: branch label {label!r} {use} of revision {other.revision!r} "
                f"({other.file}). Rename the label."
            )
    return labels


def _cycles(parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Describe every cycle; Kahn's algorithm leaves what is on one or above one."""
    children = _reversed(parents)
    missing = {name: len(found) for name, found in parents.items()}
    ready = [name for name, count in missing.items() if not count]
    while ready:
        for child in children[ready.pop()]:
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    left = {name for name, count in missing.items() if count}
    found = []
    visited: set[str] = set()
    for start in sorted(left):
        path: list[str] = []
        name = start
        while name not in visited:
            visited.add(name)
            path.append(name)
            name = next(parent for parent in parents[name] if parent in left)
        if name in path:
            found.append(path[path.index(name) :])
    return [
        f"revisions {' -> '.join([*cycle, cycle[0]])} are built on each other in a circle. "
        "Correct a down_revision or depends_on of one of them."
        for cycle in found
    ]


def _nearest(name: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1)), None)
