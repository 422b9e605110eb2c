"""The graph of all migration scripts: what a target means, what is pending, in which order."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError
from automigrate.scripts import ordering, targets
from automigrate.scripts.lineage import Lineage, Revision

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from automigrate.scripts.locked import Seal

__all__ = ["Revision", "ScriptGraph"]


class ScriptGraph(Lineage):
    """All revisions of a script directory, with Alembic's rules for targets and order.

    Pure: no file, no database, no clock. Methods that take revision ids raise `KeyError` for one
    that no script defines; a name that came from a user goes through `resolve` first.
    """

    def __init__(
        self, revisions: Iterable[Revision], seals: Mapping[str, Seal] = MappingProxyType({})
    ) -> None:
        """Check the revisions, see `Lineage`.

        Args:
            revisions: what the scripts define.
            seals: what a lock file says of the scripts, by revision.
        """
        super().__init__(revisions)
        self.seals = seals

    def resolve(self, target: str, *, current: Collection[str] = ()) -> tuple[str, ...]:
        """Resolve the target of an upgrade into revision ids; empty for ``base``.

        Several heads where one depends on another (`depends_on`) are still several for ``head``,
        as in ``alembic upgrade head``; ``heads`` means the real heads, so that dependency is left
        out; ``label@heads`` means the heads of that branch, dependency or not.

        Args:
            target: ``head``, ``heads``, ``base``, an id or its unique beginning, a branch label,
                each also after ``label@``; ``id+2`` and ``id-2``; ``+2`` and ``label@+2``.
            current: heads of the database, from which ``+2`` counts; the base by default.

        Raises:
            MultipleHeadsError: ``head`` was asked for and there are several.
            ConfigurationError: nothing matches, or more than one revision does.
        """
        return targets.upgrade_targets(self, target, current)

    def upgrade_order(self, current: Collection[str], target: Collection[str]) -> tuple[str, ...]:
        """List what to apply, oldest first, to get from the current heads to the target.

        What only the current heads need is left alone, as in Alembic; the result is empty when
        all of the target is applied. The order is that of `ScriptDirectory._upgrade_revs`.
        """
        pending = self.ancestors(target) - self.ancestors(current)
        return ordering.newest_first(self, pending, target)[::-1]

    def downgrade_order(self, current: Collection[str], target: str) -> tuple[str, ...]:
        """List what to revert, newest first, in the order of `ScriptDirectory._downgrade_revs`.

        Args:
            current: heads of the database, in the order of the version table.
            target: the revision to stop at, in any form that `resolve` takes, and ``-2`` or
                ``label@-2`` counted from `current`. ``base`` reverts everything.

        Raises:
            MultipleHeadsError: ``head`` was asked for and there are several.
            ConfigurationError: nothing matches, more than one revision does, or nothing that is
                applied is built on the target.
        """
        heads = tuple(current)
        label, stop = targets.downgrade_target(self, target, heads)
        roots = self.bases if stop is None else self.next_revisions[stop]
        if label is not None and len(roots) > 1:
            roots = self._roots_on_branch(roots, label, target)
        reverted = self.descendants(roots) & self.ancestors(heads)
        if stop is not None and not reverted and stop not in heads:
            raise ConfigurationError(
                f"nothing that is applied is built on downgrade target {target!r}. "
                "Name a revision below the current heads."
            )
        return ordering.newest_first(self, reverted, heads)

    def rollback_order(self, current: Collection[str], target: Collection[str]) -> tuple[str, ...]:
        """List what to revert, newest first, so that just the target and its ancestors remain.

        Other than `downgrade_order` it takes several revisions, for the heads of an older release.
        """
        reverted = self.ancestors(current) - self.ancestors(target)
        return ordering.newest_first(self, reverted, current)

    def _roots_on_branch(self, roots: tuple[str, ...], label: str, target: str) -> tuple[str, ...]:
        branch = self.line_below([targets.identify(self, label)])
        chosen = tuple(name for name in roots if name in branch)
        if not chosen:
            raise ConfigurationError(
                f"downgrade target {target!r}: nothing on branch {label!r} is built on it. "
                "Name a revision of that branch."
            )
        return chosen
