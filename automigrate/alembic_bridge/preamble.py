"""What the transaction of a revision begins with: time-outs, its name, how its commit waits.

Asked for again before every revision, because scripts can say RESET ALL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.database.prepared import Repeated
from automigrate.options import CommitPolicy

if TYPE_CHECKING:
    from automigrate.alembic_bridge.work import Work

__all__ = ["Preamble"]

SETTINGS = """\
set_config('statement_timeout', '0', true), set_config('lock_timeout', %s, true),
  set_config('idle_in_transaction_session_timeout', '0', true),
  set_config('application_name', %s, false)"""

# The same where they are parameters of a prepared statement.
PREPARED_SETTINGS = SETTINGS % ("$1", "$2")

ASYNCHRONOUS_COMMIT = "set_config('synchronous_commit', 'off', true)"


class Preamble:
    """That of one revision.

    Args:
        work: the run.
        revision: shown in the name of the session.
        last: whether its commit ends the run, and so must reach the disk.
    """

    def __init__(self, work: Work, revision: str, *, last: bool) -> None:
        self._work = work
        self._revision = revision
        asynchronous = work.options.commits is CommitPolicy.LAST and not last
        self._commit = [ASYNCHRONOUS_COMMIT] if asynchronous else []

    def protection(self) -> list[str]:
        """Return what protects the session, where a script has undone that."""
        session = self._work.session
        return [session.protection()] if session.was_reset else []

    def statements(self, lock_timeout: float) -> list[str]:
        """Return all of it as SQL.

        Args:
            lock_timeout: seconds that a table lock may be waited for.
        """
        settings = self._work.client.mogrify(SETTINGS, self._values(lock_timeout))
        return [*self.protection(), f"select {', '.join([settings, *self._commit])}"]

    def repeated(self, lock_timeout: float) -> Repeated:
        """Return the settings to be prepared, and with them the demand that the lock is ours."""
        demanded = [self._work.lock.demand(), PREPARED_SETTINGS, *self._commit]
        values = self._values(lock_timeout)
        return Repeated(f"select {', '.join(demanded)}", "text, text", values)

    def _values(self, lock_timeout: float) -> tuple[str, str]:
        return f"{int(lock_timeout * 1000)}ms", self._work.name_during(self._revision)
