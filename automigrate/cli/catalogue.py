"""Every setting of the command line, once: name, reading, help."""

from __future__ import annotations

import enum
from typing import Any

from automigrate.logs import FORMATS, LEVELS
from automigrate.options import (
    AheadPolicy,
    BackupScope,
    CommitPolicy,
    FailurePolicy,
    Mode,
    ModifiedPolicy,
    PoolerPolicy,
)
from automigrate.values import frozen

__all__ = ["BY_KEY", "BY_NAME", "SETTINGS", "WORKFLOW", "Kind", "Setting"]


class Kind(enum.Enum):
    """How the text of a setting is read."""

    TEXT = "TEXT"
    """As it is."""
    PATH = "PATH"
    """A path; relative to the pyproject.toml where it stands in one."""
    SCRIPTS = "DIRECTORY"
    """A path, or `package:directory`."""
    DATABASE = "URL"
    """A database URL, or `embedded:PATH`."""
    SECONDS = "DURATION"
    """`90`, `90s`, `1.5m`, `1h30m`, `500ms`."""
    SECONDS_OR_NONE = "DURATION|none"
    """The same, or `none` for no limit."""
    COUNT = "NUMBER"
    """A whole number from 1."""
    CHOICE = "CHOICE"
    """One of the listed words."""
    PORT = "PORT"
    """A TCP port; 0 takes a free one."""
    REPEATED = "KEY=VALUE"
    """May be given several times."""


@frozen
class Setting:
    """One setting, with the same name wherever it is given."""

    name: str
    """As `Options` or `Settings` call it."""
    kind: Kind
    help: str
    key: str
    """Its name on the command line, without dashes, and in pyproject.toml."""
    short: str = ""
    """One-letter flag, with its dash."""
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    """Environment variables that are asked after its own."""

    @property
    def flag(self) -> str:
        """Its long flag."""
        return f"--{self.key}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"AUTOMIGRATE_{self.key.replace('-', '_').upper()}"


def _setting(name: str, kind: Kind, text: str, **more: Any) -> Setting:
    more.setdefault("key", name.replace("_", "-"))
    return Setting(name=name, kind=kind, help=text, **more)


def _choice(name: str, kind: type[enum.StrEnum], text: str) -> Setting:
    return _choice_of(name, tuple(member.value for member in kind), text)


def _choice_of(name: str, choices: tuple[str, ...], text: str) -> Setting:
    return _setting(name, Kind.CHOICE, text, choices=choices)


SETTINGS: tuple[Setting, ...] = (
    _setting(
        "database_url",
        Kind.DATABASE,
        "Database: any usual URL, libpq key=value pairs, or embedded:PATH.",
        also=("DATABASE_URL",),
    ),
    _setting(
        "migration_url",
        Kind.DATABASE,
        "Direct URL for migrating, where the database URL leads through a pooler; wins over it.",
    ),
    _setting(
        "script_location",
        Kind.SCRIPTS,
        "Alembic's script directory, or package:directory; found through alembic.ini or "
        "pyproject.toml when not given.",
    ),
    _setting("config", Kind.PATH, "An alembic.ini; found beside the scripts when not given."),
    _setting(
        "ini_section",
        Kind.TEXT,
        "Section of alembic.ini, where it describes several histories.  [default: alembic]",
        short="-n",
    ),
    _setting("target", Kind.TEXT, "head, heads, or a revision.  [default: head]"),
    _setting(
        "x_arguments",
        Kind.REPEATED,
        "For env.py's context.get_x_argument(); may be repeated.",
        key="x-arg",
        short="-x",
    ),
    _choice("mode", Mode, "What `upgrade` may do.  [default: upgrade]"),
    _setting(
        "timeout", Kind.SECONDS, "Until everything that waits gives up; 0: at once.  [default: 10m]"
    ),
    _setting("connect_timeout", Kind.SECONDS, "For one attempt to connect.  [default: 10s]"),
    _setting(
        "lock_timeout",
        Kind.SECONDS,
        "How long a revision's first attempt waits for a table lock.  [default: 500ms]",
    ),
    _setting(
        "lock_timeout_max", Kind.SECONDS, "How long later attempts wait at most.  [default: 3s]"
    ),
    _setting(
        "step_timeout",
        Kind.SECONDS_OR_NONE,
        "For one revision in all its attempts.  [default: none]",
    ),
    _setting(
        "poll_interval",
        Kind.SECONDS,
        "Between two looks of a waiting process that nobody notifies.  [default: 10s]",
    ),
    _setting(
        "cancel_blockers",
        Kind.SECONDS_OR_NONE,
        "End sessions of the same role that block a revision and have been idle in their "
        "transaction for longer than this.  [default: none]",
    ),
    _choice("on_ahead", AheadPolicy, "When a newer release upgraded the database.  [serve]"),
    _choice("on_modified", ModifiedPolicy, "When an applied script was changed.  [default: warn]"),
    _choice("pooler", PoolerPolicy, "Behind a pooler in transaction mode.  [default: refuse]"),
    _choice("commits", CommitPolicy, "Which commits wait for the disk.  [default: last]"),
    _choice(
        "on_failure", FailurePolicy, "What was applied before a revision failed.  [default: stop]"
    ),
    _setting(
        "backup",
        Kind.PATH,
        "Directory for a backup before anything is applied or undone; without one, nothing is.",
    ),
    _setting("backup_keep", Kind.COUNT, "How many backups stay there.  [default: all]"),
    _setting(
        "backup_hook",
        Kind.TEXT,
        "Command that must succeed before anything is applied or undone.",
    ),
    _choice("backup_scope", BackupScope, "What that backup holds.  [default: all]"),
    _setting("version_table", Kind.TEXT, "Name of the version table, where env.py hides it."),
    _setting("version_table_schema", Kind.TEXT, "Its schema, where env.py hides it."),
    _setting("application_version", Kind.TEXT, "Release of the application, for the journal."),
    _setting(
        "grace",
        Kind.SECONDS,
        "After SIGTERM or Ctrl-C: how long the running revision may go on before it is rolled "
        "back; a second signal ends it at once.  [default: 20s]",
    ),
    _setting(
        "health_port",
        Kind.PORT,
        "Answer /livez, /readyz and /startupz on this port while the command runs.",
    ),
    _setting("health_host", Kind.TEXT, "The address that port is bound to.  [default: 0.0.0.0]"),
    _setting(
        "termination_log",
        Kind.PATH,
        "File for one line about the end of the run.  [default in a pod: /dev/termination-log]",
    ),
    _setting(
        "log_format",
        Kind.CHOICE,
        "On stderr.  [default: console on a terminal, json elsewhere]",
        choices=FORMATS,
    ),
    _setting("log_level", Kind.CHOICE, "The lowest that is written.  [info]", choices=LEVELS),
)
WORKFLOW: tuple[Setting, ...] = (
    _setting(
        "models",
        Kind.TEXT,
        "The models, as package.module:Base; several with commas.  [env.py's target_metadata]",
    ),
    _choice_of(
        "scratch",
        ("auto", "embedded", "server"),
        "Where scratch databases are made: on the wheel's server, or on that of the database "
        "URL.  [default: the wheel's where installed]",
    ),
    _setting("seed", Kind.TEXT, "Function that fills the database, as package.module:function."),
)
"""What only the commands of local work and CI are told."""
BY_NAME = {setting.name: setting for setting in (*SETTINGS, *WORKFLOW)}
BY_KEY = {setting.key: setting for setting in (*SETTINGS, *WORKFLOW)}
