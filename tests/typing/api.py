"""How the public interface may be used: checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import automigrate
from automigrate import (
    AppliedRevision,
    Blocker,
    Event,
    Holder,
    Listener,
    Migrator,
    Mode,
    Options,
    Outcome,
    Status,
    UpgradeReport,
    Verdict,
)
from automigrate.events import RevisionApplied

if TYPE_CHECKING:
    import psycopg
    from alembic.config import Config
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine


def a_url_is_enough() -> None:
    assert_type(automigrate.upgrade("postgresql://db/app"), UpgradeReport)
    automigrate.upgrade("postgresql://db/app", "migrations")
    automigrate.upgrade("postgresql://db/app", Path("migrations"))


def engines_and_functions_are_databases(
    engine: Engine, async_engine: AsyncEngine, connection: psycopg.Connection
) -> None:
    automigrate.upgrade(engine, "app:migrations")
    automigrate.upgrade(async_engine)
    automigrate.upgrade(lambda: connection)


async def an_async_startup_awaits() -> None:
    assert_type(await automigrate.upgrade_async("postgresql://db/app"), UpgradeReport)
    assert_type(await Migrator("postgresql://db/app").upgrade_async(), UpgradeReport)


def options_are_keywords(config: Config) -> None:
    automigrate.upgrade("x", timeout=5 * 60.0, mode="wait", x_arguments=["tenant=a"])
    automigrate.upgrade("x", mode=Mode.CHECK, step_timeout=None, config=Path("alembic.ini"))
    automigrate.upgrade("x", config=config)
    automigrate.upgrade("x", tiemout=5)  # type: ignore[call-arg]
    automigrate.upgrade("x", timeout="5 minutes")  # type: ignore[arg-type]
    assert_type(Options.of({"timeout": 5}), Options)


def a_listener_gets_every_event() -> None:
    def listener(event: Event) -> None:
        if isinstance(event, RevisionApplied):
            assert_type(event.revision, str)
            assert_type(event.seconds, float)

    typed: Listener = listener
    automigrate.upgrade("x", on_event=typed)


def a_migrator_has_every_way(migrator: Migrator) -> None:
    assert_type(migrator.upgrade(), UpgradeReport)
    assert_type(migrator.wait(), UpgradeReport)
    assert_type(migrator.check(), Status)
    assert_type(migrator.status(), Status)
    migrator.stop()
    migrator.abort()


def a_report_says_what_was_done(report: UpgradeReport) -> None:
    assert_type(report.outcome, Outcome)
    assert_type(report.verdict, Verdict)
    assert_type(report.heads, tuple[str, ...])
    assert_type(report.applied, tuple[AppliedRevision, ...])
    assert_type(report.waited_for, Holder | None)
    report.seconds = 1.0  # type: ignore[misc]


def errors_carry_values() -> None:
    try:
        automigrate.upgrade("x")
    except automigrate.LockTimeoutError as error:
        assert_type(error.holder, Holder | None)
        assert_type(error.waited_seconds, float)
    except automigrate.SchemaMismatchError as error:
        assert_type(error.current, tuple[str, ...])
    except automigrate.StepTimeoutError as error:
        assert_type(error.blockers, tuple[Blocker, ...])
    except automigrate.AutomigrateError as error:
        assert_type(error.exit_code, int)
