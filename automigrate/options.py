"""Options of a run: frozen, and checked all at once before any input or output."""

from __future__ import annotations

import enum
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypedDict

from automigrate.errors import ConfigurationError
from automigrate.values import frozen

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from alembic.config import Config
    from typing_extensions import TypeIs
else:
    Config = Any  # for those who read type hints at run time

__all__ = [
    "SECTION",
    "AheadPolicy",
    "BackupScope",
    "CommitPolicy",
    "FailurePolicy",
    "Mode",
    "ModifiedPolicy",
    "Options",
    "PoolerPolicy",
    "is_prepared",
]

SECTION = "alembic"
"""The section of `alembic.ini` that is read where none is named."""


class Mode(enum.StrEnum):
    """What a run may do."""

    UPGRADE = "upgrade"
    """Apply what is pending, or wait while another process does."""
    WAIT = "wait"
    """Never apply anything; wait until the schema is right."""
    CHECK = "check"
    """Judge once; never wait, never change anything."""
    OFF = "off"
    """Do nothing at all."""


class AheadPolicy(enum.StrEnum):
    """What to do when a newer release has upgraded the database."""

    SERVE = "serve"
    """Serve, and log a warning."""
    REFUSE = "refuse"
    """Raise `AheadError`."""


class ModifiedPolicy(enum.StrEnum):
    """What to do when the script of an applied revision has changed in substance."""

    WARN = "warn"
    """Log a warning; in mode `check` it is still refused."""
    REFUSE = "refuse"
    """Raise `ModifiedError`."""


class PoolerPolicy(enum.StrEnum):
    """What to do behind a pooler in transaction mode."""

    REFUSE = "refuse"
    """Raise `PoolerError`, naming the remedy."""
    TRANSACTION = "transaction"
    """Take the lock anew in the transaction of each revision; no CONCURRENTLY."""


class CommitPolicy(enum.StrEnum):
    """Which commits wait until they are on disk."""

    LAST = "last"
    """The last one of a run, which makes all before it durable; a crash of the server loses at
    most the newest revisions as a whole, and the next start applies them again."""
    EVERY = "every"
    """Every revision's."""


class BackupScope(enum.StrEnum):
    """What the backup before an upgrade or a rollback holds."""

    ALL = "all"
    """The whole database; `restore` brings it back."""
    TOUCHED = "touched"
    """The tables that the revisions change or destroy; everything where that cannot be told."""


class FailurePolicy(enum.StrEnum):
    """What becomes of the revisions that a run applied before one failed."""

    STOP = "stop"
    """They stay applied."""
    ROLLBACK = "rollback"
    """They are undone too, where that destroys nothing that was there before the run."""


class OptionsInput(TypedDict, total=False):
    """The options as keyword arguments: what `automigrate.upgrade` accepts, all optional."""

    mode: Mode | str
    target: str
    config: str | os.PathLike[str] | Config | None
    ini_section: str
    version_table: str | None
    version_table_schema: str | None
    timeout: float
    connect_timeout: float
    lock_timeout: float
    lock_timeout_max: float
    step_timeout: float | None
    poll_interval: float
    cancel_blockers: float | None
    on_ahead: AheadPolicy | str
    on_modified: ModifiedPolicy | str
    pooler: PoolerPolicy | str
    commits: CommitPolicy | str
    on_failure: FailurePolicy | str
    backup: str | os.PathLike[str] | None
    backup_keep: int | None
    backup_hook: str | None
    backup_scope: BackupScope | str
    x_arguments: Sequence[str]
    application_version: str | None


@frozen
class Options:
    """Everything that can be set for a run; make one with `Options.of`."""

    mode: Mode = Mode.UPGRADE
    target: str = "head"
    """`head`, `heads`, a revision, or any other target that Alembic's `upgrade` accepts."""
    config: str | Config | None = None
    """Path of an alembic.ini, found beside the scripts when not given; or Alembic's `Config`, as a
    program has prepared it for `alembic.command`."""
    ini_section: str = SECTION
    """Section of the alembic.ini, as Alembic's `--name`, where it describes several histories."""
    version_table: str | None = None
    """Name of the version table; `None`: what env.py says where it can be read, else
    `alembic_version`."""
    version_table_schema: str | None = None
    """Its schema; `None`: what env.py says where it can be read, else the search_path decides."""
    timeout: float = 10 * 60.0
    """Seconds until everything that waits gives up: for the server, the lock, table locks. A
    statement that is working is not ended by it."""
    connect_timeout: float = 10.0
    """Seconds for one attempt to connect."""
    lock_timeout: float = 0.5
    """Seconds that the first attempt of a revision waits for a table lock (H12)."""
    lock_timeout_max: float = 3.0
    """Seconds that later attempts wait at most; doubles from `lock_timeout`."""
    step_timeout: float | None = None
    """Seconds that one revision may run in all its attempts; `None`: without limit."""
    poll_interval: float = 10.0
    """Seconds between two looks of a waiting process when no notification comes, at most: the
    fewer wait, the shorter they are, down to one."""
    cancel_blockers: float | None = None
    """End sessions of the same role that block a revision and have been idle in their
    transaction for more than this many seconds; `None`: never."""
    on_ahead: AheadPolicy = AheadPolicy.SERVE
    on_modified: ModifiedPolicy = ModifiedPolicy.WARN
    pooler: PoolerPolicy = PoolerPolicy.REFUSE
    commits: CommitPolicy = CommitPolicy.LAST
    on_failure: FailurePolicy = FailurePolicy.STOP
    backup: str | None = None
    """Directory for a backup that is made before anything is applied or undone; without it,
    nothing is. `None`: no backup."""
    backup_keep: int | None = None
    """How many backups stay in that directory; `None`: all."""
    backup_hook: str | None = None
    """Command whose success is required before anything is applied or undone, such as one that
    takes a snapshot of the volume."""
    backup_scope: BackupScope = BackupScope.ALL
    x_arguments: tuple[str, ...] = ()
    """`key=value` pairs that env.py reads through `context.get_x_argument()`."""
    application_version: str | None = None
    """Release of the application, for the journal."""

    @property
    def backs_up(self) -> bool:
        """Whether a backup is required before anything is applied or undone."""
        return self.backup is not None or self.backup_hook is not None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Check the options given and fill in the defaults.

        Raises:
            ConfigurationError: with every fault at once.
        """
        faults: list[str] = []
        values: dict[str, Any] = {}
        known = {field.name for field in fields(cls)}
        for name, value in given.items():
            if name not in known:
                listed = ", ".join(sorted(known))
                faults.append(f"option {name!r} does not exist; known are {listed}.")
            elif name in _ENUMS:
                values[name] = _member(_ENUMS[name], name, value, faults)
            elif name in _SECONDS:
                values[name] = _seconds(name, value, faults)
            elif name == "backup_keep":
                values[name] = _count(name, value, faults)
            elif name == "x_arguments":
                values[name] = _x_arguments(value, faults)
            elif name == "config" and is_prepared(value):
                values[name] = value
            else:
                values[name] = _text(name, value, faults)
        if faults:
            raise ConfigurationError(faults)
        options = cls(**values)
        faults = list(_contradictions(options))
        if faults:
            raise ConfigurationError(faults)
        return options


_ENUMS: dict[str, type[enum.StrEnum]] = {
    "mode": Mode,
    "on_ahead": AheadPolicy,
    "on_modified": ModifiedPolicy,
    "pooler": PoolerPolicy,
    "commits": CommitPolicy,
    "on_failure": FailurePolicy,
    "backup_scope": BackupScope,
}
_SECONDS = {
    "timeout",
    "connect_timeout",
    "lock_timeout",
    "lock_timeout_max",
    "step_timeout",
    "poll_interval",
    "cancel_blockers",
}
_MAY_BE_NONE = {
    "config",
    "version_table",
    "version_table_schema",
    "step_timeout",
    "cancel_blockers",
    "application_version",
    "backup",
    "backup_hook",
}
_MAY_BE_ZERO = {"timeout"}
LONGEST_IDENTIFIER = 63
"""Bytes; PostgreSQL cuts longer names off (manual, 4.1.1)."""


def is_prepared(config: object) -> TypeIs[Config]:
    """Whether this is Alembic's `Config`, which is not imported to find out."""
    return hasattr(config, "get_main_option") and hasattr(config, "attributes")


def _member(kind: type[enum.StrEnum], name: str, value: object, faults: list[str]) -> object:
    try:
        return kind(value)  # type: ignore[arg-type]  # Enum raises ValueError for what is no member
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in kind)
        faults.append(f"{name}={value!r} is not one of {allowed}.")
        return None


def _seconds(name: str, value: object, faults: list[str]) -> float | None:
    if value is None and name in _MAY_BE_NONE:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        faults.append(f"{name}={value!r} is not a number of seconds.")
        return None
    if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
        faults.append(f"{name}={value!r} must be more than 0 seconds.")
        return None
    return float(value)


def _count(name: str, value: object, faults: list[str]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        faults.append(f"{name}={value!r} is not a whole number from 1.")
        return None
    return value


def _x_arguments(value: object, faults: list[str]) -> tuple[str, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        faults.append(f"x_arguments={value!r} must be a sequence of 'key=value' strings.")
        return ()
    return tuple(str(item) for item in value)


def _text(name: str, value: object, faults: list[str]) -> str | None:
    if value is None and name in _MAY_BE_NONE:
        return None
    if name in {"backup", "config"} and hasattr(value, "__fspath__"):
        return str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        faults.append(f"{name}={value!r} must be a string that is not empty.")
        return None
    if name.startswith("version_table") and len(value.encode()) > LONGEST_IDENTIFIER:
        faults.append(f"{name}={value!r} is longer than PostgreSQL's {LONGEST_IDENTIFIER} bytes.")
    return value


def _contradictions(options: Options) -> list[str]:
    faults = []
    if options.lock_timeout > options.lock_timeout_max:
        faults.append(
            f"lock_timeout={options.lock_timeout} is more than "
            f"lock_timeout_max={options.lock_timeout_max}; raise the second."
        )
    section = getattr(options.config, "config_ini_section", options.ini_section)
    if options.ini_section not in {SECTION, section}:
        faults.append(
            f"ini_section={options.ini_section!r}, and the Config given has "
            f"config_ini_section={section!r}; leave the first out."
        )
    if options.target == "base":
        faults.append("target='base' would undo everything; use `automigrate rollback` for that.")
    return faults
