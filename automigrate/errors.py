"""Every error that automigrate raises, with the exit code of the command line beside it.

    AutomigrateError
    ├── ConfigurationError              2
    ├── ScriptError                     3
    │   ├── MultipleHeadsError
    │   ├── BrokenHistoryError
    │   └── ScriptImportError
    ├── DatabaseUnavailableError        4
    │   ├── PermissionDeniedError
    │   └── PoolerError
    ├── LockTimeoutError                5
    ├── SchemaMismatchError             6
    │   ├── AheadError
    │   ├── IncompatibleError
    │   ├── DivergedError
    │   ├── UnmanagedError
    │   ├── ModifiedError
    │   └── PendingError
    ├── InterruptedRevisionError        7
    ├── UpgradeError                    8
    │   └── StepTimeoutError
    ├── StoppedError                    9
    └── RecoveryError                   10
        ├── RollbackRefusedError
        └── BackupError

Exit code 0 means that the schema is right; 1 is a bug in automigrate.

Each text says what happened, with names and figures, then what to do next. No text contains a
password: whoever builds one from a driver's message passes it through
`automigrate.database.url.scrub` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from automigrate.verdict import Blocker, Holder

__all__ = [
    "AheadError",
    "AutomigrateError",
    "BackupError",
    "BrokenHistoryError",
    "ConfigurationError",
    "DatabaseUnavailableError",
    "DivergedError",
    "IncompatibleError",
    "InterruptedRevisionError",
    "LockTimeoutError",
    "ModifiedError",
    "MultipleHeadsError",
    "PendingError",
    "PermissionDeniedError",
    "PoolerError",
    "RecoveryError",
    "RollbackRefusedError",
    "SchemaMismatchError",
    "ScriptError",
    "ScriptImportError",
    "StepTimeoutError",
    "StoppedError",
    "UnmanagedError",
    "UpgradeError",
]


class AutomigrateError(Exception):
    """Root of every error that automigrate raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, because the constructors take keywords only."""
        return (_restore, (type(self), self.args, self.__dict__.copy()))


def _restore(
    kind: type[AutomigrateError], args: tuple[Any, ...], state: Mapping[str, Any]
) -> AutomigrateError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(AutomigrateError):
    """The options, the database URL or the script location cannot be used as given.

    Attributes:
        faults: every fault found, each a sentence with its remedy.
    """

    exit_code = 2

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class ScriptError(AutomigrateError):
    """The migration scripts cannot be used; the database was not changed."""

    exit_code = 3


class MultipleHeadsError(ScriptError):
    """The scripts end in several heads and none was asked for.

    Attributes:
        heads: the revisions nothing is built on, sorted.
        files: the files that define them, in the same order.
    """

    def __init__(
        self,
        *,
        heads: Sequence[str],
        files: Sequence[str],
        otherwise: str = "ask for all of them with target 'heads'",
    ) -> None:
        self.heads = tuple(heads)
        self.files = tuple(files)
        listed = ", ".join(
            f"{head} ({file})" for head, file in zip(self.heads, self.files, strict=True)
        )
        remedies = ", or ".join(filter(None, ("Merge them with `automigrate merge`", otherwise)))
        super().__init__(f"the scripts have {len(self.heads)} heads: {listed}. {remedies}.")


class BrokenHistoryError(ScriptError):
    """The scripts do not form a history: a duplicate, a missing link or a cycle.

    Attributes:
        faults: every fault found, each a sentence that names the files and the remedy.
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class ScriptImportError(ScriptError):
    """A migration script or env.py cannot be loaded: a syntax error, or it raised on import.

    Attributes:
        file: the path of the script.
        reason: class and text of what went wrong.
        applied: whether it was env.py, after the revisions had run.
    """

    def __init__(
        self, *, file: str, reason: str, revision: str | None = None, applied: bool = False
    ) -> None:
        self.file = file
        self.reason = reason
        self.revision = revision
        self.applied = applied
        super().__init__(
            f"{file} failed after the revisions had run, which stay applied: {reason}."
            if applied
            else f"{file} cannot be loaded: {reason}. "
            "Correct the script; the database was not changed by it."
        )


class DatabaseUnavailableError(AutomigrateError):
    """No usable connection could be had within the deadline.

    Attributes:
        attempts: how many connections were tried.
        waited_seconds: for how long, in seconds.
        reason: the last failure, without secrets.
    """

    exit_code = 4

    def __init__(
        self,
        *,
        reason: str,
        remedy: str = "Check that the server runs and that host, port and database are right.",
        attempts: int = 1,
        waited_seconds: float = 0.0,
    ) -> None:
        self.reason = reason
        self.attempts = attempts
        self.waited_seconds = waited_seconds
        tried = "attempt" if attempts == 1 else "attempts"
        super().__init__(
            f"no usable connection to the database after {attempts} {tried} in "
            f"{waited_seconds:.1f} s: {_ended(reason)} {remedy}"
        )


def in_one_line(reason: str) -> str:
    """Put what a driver says in several lines into one, without a full stop at its end."""
    lines = (" ".join(line.split()).rstrip(".") for line in reason.splitlines())
    return ". ".join(filter(None, lines))


def _ended(reason: str) -> str:
    """End what a driver says as a sentence, in one line."""
    text = in_one_line(reason)
    return text if text.endswith("?") else f"{text}."


class PermissionDeniedError(DatabaseUnavailableError):
    """The server refused the role: wrong password, no such role, or a privilege is missing.

    Never retried: waiting does not grant a privilege.
    """

    def __init__(
        self,
        *,
        reason: str,
        remedy: str = "Check user and password, and what the role was granted.",
        attempts: int = 1,
        waited_seconds: float = 0.0,
    ) -> None:
        super().__init__(reason=reason, remedy=remedy)
        self.attempts = attempts
        self.waited_seconds = waited_seconds
        self.args = (f"the server refused: {_ended(reason)} {remedy}",)


class PoolerError(DatabaseUnavailableError):
    """The connection goes through a pooler that shares server connections between transactions.

    A session advisory lock would be lost or leaked there.
    """

    def __init__(self, *, reason: str, remedy: str) -> None:
        super().__init__(reason=reason, remedy=remedy)
        self.args = (f"{reason.rstrip('.')}. {remedy}",)


class LockTimeoutError(AutomigrateError):
    """Another session held the migration lock until the deadline.

    Attributes:
        holder: who held it, as far as the server shows it; `None` when it was gone at the end.
        waited_seconds: for how long this process waited, in seconds.
    """

    exit_code = 5

    def __init__(self, *, holder: Holder | None, waited_seconds: float) -> None:
        self.holder = holder
        self.waited_seconds = waited_seconds
        who = f"held by {holder}" if holder is not None else "held by a session that is now gone"
        super().__init__(
            f"the migration lock was not free within {waited_seconds:.1f} s: {who}. "
            "Its run may simply be long: start again, or raise the timeout. "
            "If that session is stuck, end it with `automigrate unlock`."
        )


class SchemaMismatchError(AutomigrateError):
    """The schema is not what this code needs, and policy says not to change it.

    Attributes:
        current: heads in the database.
        wanted: heads of the scripts.
        revisions: the revisions that the verdict is about.
    """

    exit_code = 6
    _text: ClassVar[str] = "the schema does not match the code"
    _remedy: ClassVar[str] = "Run `automigrate status`."

    def __init__(
        self,
        *,
        current: Sequence[str],
        wanted: Sequence[str],
        revisions: Sequence[str] = (),
        detail: str = "",
    ) -> None:
        self.current = tuple(current)
        self.wanted = tuple(wanted)
        self.revisions = tuple(revisions)
        named = f" ({names(self.revisions)})" if self.revisions else ""
        more = f"; {detail}" if detail else ""
        super().__init__(
            f"{self._text}{named}{more}. The database is at {names(self.current)}, "
            f"the code wants {names(self.wanted)}. {self._remedy}"
        )


class AheadError(SchemaMismatchError):
    """The database was upgraded by a newer release, and policy refuses to serve on it."""

    _text = "the database is ahead of this code"
    _remedy = "Deploy the newer release, or roll the database back with `automigrate rollback`."


class IncompatibleError(SchemaMismatchError):
    """A newer revision declared that code which does not know it must not run on its schema."""

    _text = "the database is ahead, and a newer revision excludes this code"
    _remedy = "Deploy the newer release, or roll the database back with `automigrate rollback`."


class DivergedError(SchemaMismatchError):
    """The database holds revisions that are not built on those of this code."""

    _text = "the database has revisions that are not built on those of this code"
    _remedy = (
        "Check that the URL names the right database and schema; otherwise merge the branches "
        "and deploy code that knows all revisions."
    )


class UnmanagedError(SchemaMismatchError):
    """The database has tables, but no version table says at which revision they are."""

    _text = "the database has tables but no version table"
    _remedy = (
        "Find the revision that these tables correspond to and record it with "
        "`alembic stamp REVISION`; or name the schema of the version table."
    )


class ModifiedError(SchemaMismatchError):
    """The script of an applied revision has changed in substance since it was applied."""

    _text = "scripts of applied revisions were changed"
    _remedy = "Restore them, and put the change into a new revision."


class PendingError(SchemaMismatchError):
    """Revisions are pending, and the mode (`wait`, `check`) does not apply them."""

    _text = "revisions are pending"
    _remedy = "Run `automigrate upgrade`."


class InterruptedRevisionError(AutomigrateError):
    """A revision that had committed a part of its work did not finish.

    Attributes:
        revision: the revision.
        left: what is left of it in the database, a sentence each.
    """

    exit_code = 7

    def __init__(self, *, revision: str, left: Sequence[str], remedy: str | None = None) -> None:
        self.revision = revision
        self.left = tuple(left)
        found = "; ".join(self.left) or "nothing is known of what it did"
        default = (
            f"Look at the schema; then say `automigrate repair {revision} --applied` if its work "
            f"is complete, or undo what is left and say `automigrate repair {revision} "
            "--not-applied` to have it run again."
        )
        super().__init__(
            f"revision {revision} was interrupted after it had committed a part of its work: "
            f"{found}. {remedy or default}"
        )


class UpgradeError(AutomigrateError):
    """A revision failed.

    Attributes:
        applied: revisions that this run applied before, in order; they stay applied.
        failed: the revision that failed.
        pending: what is still to be applied, the failed revision first.
        rolled_back: whether everything that the failed revision did was undone.
        reason: class and text of the failure, without secrets.
        direction: ``upgrade`` or ``downgrade``.
    """

    exit_code = 8

    def __init__(
        self,
        *,
        applied: Sequence[str],
        failed: str,
        pending: Sequence[str],
        rolled_back: bool,
        reason: str,
        remedy: str | None = None,
        direction: str = "upgrade",
    ) -> None:
        self.applied = tuple(applied)
        self.failed = failed
        self.pending = tuple(pending)
        self.rolled_back = rolled_back
        self.reason = reason
        self.direction = direction
        state = (
            "It was rolled back as a whole."
            if rolled_back
            else "A part of it is committed, and the journal says so."
        )
        before = ""
        if self.applied:
            stay = "applied" if direction == "upgrade" else "undone"
            before = f"{len(self.applied)} {stay} before it stay {stay}."
        what = "revision" if direction == "upgrade" else "the downgrade of revision"
        done = " ".join(part for part in (state, before) if part)
        super().__init__(
            f"{what} {failed} failed: {reason.rstrip('.')}. {done} "
            f"{remedy or 'Correct the script or the data and start again.'}"
        )


class StepTimeoutError(UpgradeError):
    """A revision could not finish in its time; names the sessions that blocked it.

    Attributes:
        blockers: sessions that held what it waited for, as last seen.
    """

    def __init__(
        self,
        *,
        applied: Sequence[str],
        failed: str,
        pending: Sequence[str],
        rolled_back: bool,
        reason: str,
        blockers: Sequence[Blocker] = (),
        direction: str = "upgrade",
    ) -> None:
        self.blockers = tuple(blockers)
        by = f"; blocked by {'; '.join(map(str, self.blockers))}" if self.blockers else ""
        super().__init__(
            applied=applied,
            failed=failed,
            pending=pending,
            rolled_back=rolled_back,
            reason=f"{reason}{by}",
            remedy="End the blocking transaction or wait for a quieter moment, and start again.",
            direction=direction,
        )


class StoppedError(AutomigrateError):
    """The run was asked to stop (SIGTERM or cancellation) and stopped between two revisions.

    Attributes:
        applied: revisions that this run applied before, in order; they stay applied.
        pending: what is still to be applied.
    """

    exit_code = 9

    def __init__(self, *, applied: Sequence[str] = (), pending: Sequence[str] = ()) -> None:
        self.applied = tuple(applied)
        self.pending = tuple(pending)
        super().__init__(
            f"stopped as asked: {len(self.applied)} revisions applied, {len(self.pending)} "
            "pending. Nothing is half done; the next start continues."
        )


class RecoveryError(AutomigrateError):
    """The way back, or what belongs to it, is not to be had; the schema was not changed."""

    exit_code = 10


class RollbackRefusedError(RecoveryError):
    """Revisions cannot be undone, or must not be without a further word.

    Attributes:
        faults: every reason, each a sentence that names the revision.
    """

    def __init__(self, faults: str | Sequence[str], *, remedy: str = "") -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        self.remedy = remedy
        listed = "; ".join(self.faults)
        super().__init__(f"nothing was undone: {listed}. {remedy}".strip())


class BackupError(RecoveryError):
    """A backup could not be made, verified or restored.

    Attributes:
        reason: what went wrong, without secrets.
    """

    def __init__(self, *, reason: str, remedy: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason.rstrip('.')}. {remedy}".strip())


def names(items: Iterable[str], *, limit: int = 5) -> str:
    """Join revision names for a text: ``a, b`` · ``nothing`` · ``a, b, … (7 in all)``."""
    listed = list(items)
    if not listed:
        return "nothing"
    if len(listed) <= limit:
        return ", ".join(listed)
    return f"{', '.join(listed[:limit])}, … ({len(listed)} in all)"
