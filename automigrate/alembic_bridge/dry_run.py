"""Whether env.py is going to roll back what the revisions do: a dry run that it was asked for.

A common recipe: `if "dry-run" in context.get_x_argument(): transaction.rollback()` behind
`run_migrations`. Here each revision is committed by itself, so it would come too late.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event

from automigrate.alembic_bridge.env_statements import pass_locks
from automigrate.errors import AutomigrateError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from alembic.runtime.environment import EnvironmentContext

    from automigrate.alembic_bridge.env_run import EnvRun

__all__ = ["may_roll_back", "refuse_dry_run"]

_MENTIONED = re.compile(rb"dry[-_ ]?run", re.IGNORECASE)
_ROLLS_BACK = re.compile(rb"\b(?:rollback|abort)\b", re.IGNORECASE)
_BY_STATEMENT = re.compile(r"\s*(?:rollback|abort)\b(?!.*\bto\b)", re.IGNORECASE)


def may_roll_back(env_file: Path) -> bool:
    """Whether the text of env.py speaks of a dry run and of rolling back."""
    text = env_file.read_bytes()
    return all(pattern.search(text) for pattern in (_MENTIONED, _ROLLS_BACK))


def refuse_dry_run(env_run: EnvRun) -> None:
    """Run env.py without applying anything, and see how it ends its transaction.

    What it fails with is passed over: it will fail again.

    Raises:
        ConfigurationError: it rolls back.
    """
    outcome = _Outcome()
    with suppress(AutomigrateError), outcome.watching():
        env_run.run(outcome.configure, lambda *_: [], locks=pass_locks)
    if outcome.rolled_back:
        raise ConfigurationError(
            "env.py rolls back what the revisions do, for a dry run. Here each revision is "
            "committed by itself, so nothing was run. `automigrate plan` shows what would be done; "
            "run plain Alembic for the dry run, or leave its argument out."
        )


class _Outcome:
    """What came last after `run_migrations`, on any connection of env.py's."""

    def __init__(self) -> None:
        self.rolled_back = False
        self._reached = False
        self._thread: int | None = None

    def configure(
        self, environment: EnvironmentContext, original: Callable[..., None], **kwargs: Any
    ) -> None:
        """Stand for `configure`."""
        original(**kwargs)
        environment.get_context().run_migrations = self._reach  # type: ignore[method-assign]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hear the ends of transactions; env.py may run in another thread, one run at a time."""
        listeners: dict[str, Callable[..., None]] = {
            "commit": self._on_commit,
            "rollback": self._on_rollback,
            "before_cursor_execute": self._on_statement,
        }
        for name, listener in listeners.items():
            event.listen(Engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners.items():
                event.remove(Engine, name, listener)

    def _reach(self, **_: Any) -> None:
        self._reached = True
        self._thread = threading.get_ident()

    def _on_commit(self, _connection: object) -> None:
        if self._of_env():
            self._reached = False

    def _on_rollback(self, _connection: object) -> None:
        if self._of_env():
            self.rolled_back = True

    def _on_statement(self, _connection: object, _cursor: object, statement: str, *_: Any) -> None:
        if self._of_env() and _BY_STATEMENT.match(statement):
            self.rolled_back = True

    def _of_env(self) -> bool:
        """Whether it is env.py that ends a transaction, and not another thread."""
        return self._reached and threading.get_ident() == self._thread
