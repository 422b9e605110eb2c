"""Bring the PostgreSQL schema to the revision the code needs, once, before the app serves."""

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing typing costs as much as a look at the database
if TYPE_CHECKING:
    from automigrate.errors import (
        AheadError,
        AutomigrateError,
        BackupError,
        BrokenHistoryError,
        ConfigurationError,
        DatabaseUnavailableError,
        DivergedError,
        IncompatibleError,
        InterruptedRevisionError,
        LockTimeoutError,
        ModifiedError,
        MultipleHeadsError,
        PendingError,
        PermissionDeniedError,
        PoolerError,
        RecoveryError,
        RollbackRefusedError,
        SchemaMismatchError,
        ScriptError,
        ScriptImportError,
        StepTimeoutError,
        StoppedError,
        UnmanagedError,
        UpgradeError,
    )
    from automigrate.events import Event, Listener, Phase
    from automigrate.migrator import Migrator, upgrade, upgrade_async
    from automigrate.options import (
        AheadPolicy,
        BackupScope,
        CommitPolicy,
        FailurePolicy,
        Mode,
        ModifiedPolicy,
        Options,
        PoolerPolicy,
    )
    from automigrate.verdict import (
        AppliedRevision,
        BackupReport,
        BaselineReport,
        Blocker,
        DowngradeReport,
        Holder,
        Loss,
        Outcome,
        RollbackPlan,
        RollbackStep,
        Status,
        UpgradeReport,
        Verdict,
    )

__all__ = [
    "AheadError",
    "AheadPolicy",
    "AppliedRevision",
    "AutomigrateError",
    "BackupError",
    "BackupReport",
    "BackupScope",
    "BaselineReport",
    "Blocker",
    "BrokenHistoryError",
    "CommitPolicy",
    "ConfigurationError",
    "DatabaseUnavailableError",
    "DivergedError",
    "DowngradeReport",
    "Event",
    "FailurePolicy",
    "Holder",
    "IncompatibleError",
    "InterruptedRevisionError",
    "Listener",
    "LockTimeoutError",
    "Loss",
    "Migrator",
    "Mode",
    "ModifiedError",
    "ModifiedPolicy",
    "MultipleHeadsError",
    "Options",
    "Outcome",
    "PendingError",
    "PermissionDeniedError",
    "Phase",
    "PoolerError",
    "PoolerPolicy",
    "RecoveryError",
    "RollbackPlan",
    "RollbackRefusedError",
    "RollbackStep",
    "SchemaMismatchError",
    "ScriptError",
    "ScriptImportError",
    "Status",
    "StepTimeoutError",
    "StoppedError",
    "UnmanagedError",
    "UpgradeError",
    "UpgradeReport",
    "Verdict",
    "__version__",
    "upgrade",
    "upgrade_async",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for: the command line and `check` need few of them."""
    if name in __all__:
        from importlib import import_module

        for module in ("errors", "options", "verdict", "events", "migrator"):
            found = import_module(f"automigrate.{module}")
            if name in found.__all__:
                value: object = getattr(found, name)
                globals()[name] = value
                return value
    msg = f"module 'automigrate' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
