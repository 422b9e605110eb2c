"""Undo revisions: plan, show what would be lost, refuse or ask, lock, undo, verify.

Read `roll_back` first. The plan is made once, before the lock, and nothing but that plan is carried
out: what was shown and agreed to is what happens. When the session is lost the rest of the same
plan is carried on with; when somebody else has changed the database meanwhile, it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from automigrate.alembic_bridge.render import WayBack
from automigrate.database import signature
from automigrate.errors import (
    RollbackRefusedError,
    SchemaMismatchError,
)
from automigrate.events import Phase, PhaseEntered, RunFailed
from automigrate.recovery import descent as descents
from automigrate.recovery.backup import backup_before
from automigrate.recovery.holding import prepare, take_lock
from automigrate.recovery.losses import losses
from automigrate.recovery.scope import rendered
from automigrate.verdict import DowngradeReport, RollbackPlan, RollbackStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from automigrate.alembic_bridge.work import Descent
    from automigrate.database.journal import Recorded
    from automigrate.database.session import Look, Session, Tables
    from automigrate.run import Run

__all__ = ["Request", "plan_for", "planned", "roll_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a rollback."""

    target: str | None = None
    """As for `alembic downgrade`; `None`: to the heads of this code."""
    allow_data_loss: bool = False
    confirm: Callable[[RollbackPlan], bool] | None = None
    """Asked before the lock is taken, when nothing speaks against the plan."""


@dataclass(slots=True, kw_only=True)
class _Prepared:
    """A plan, and what carries it out."""

    plan: RollbackPlan
    descent: Descent


@dataclass(slots=True, kw_only=True)
class _Rollback:
    """One call, through all its sessions and version tables."""

    run: Run
    request: Request
    prepared: dict[Tables, _Prepared] = field(default_factory=dict)


def roll_back(run: Run, request: Request) -> DowngradeReport:
    """Undo revisions, each in a transaction of its own, under the lock of the upgrades.

    Raises:
        RollbackRefusedError: a revision cannot be undone, or data would be lost without leave.
        AutomigrateError: as for an upgrade.
    """
    rollback = _Rollback(run=run, request=request)
    try:
        run.read_scripts()
        look = run.until_settled(lambda session, look: _settle(rollback, session, look))
    except BaseException as error:
        run.emit(PhaseEntered(phase=Phase.FAILED))
        run.emit(RunFailed(error=error))
        raise
    done = list(rollback.prepared.values())
    run.emit(PhaseEntered(phase=Phase.READY))
    return DowngradeReport(
        heads=tuple(sorted(look.heads)),
        reverted=tuple(run.applied),
        losses=tuple(loss for item in done for loss in item.plan.losses),
        backup=run.backup,
        seconds=run.deadline.elapsed,
    )


def plan_for(run: Run, target: str | None) -> RollbackPlan:
    """Say what a rollback would do and destroy; takes no lock and changes nothing.

    Raises:
        AutomigrateError: no connection, unusable scripts or target, a diverged database.
    """
    run.read_scripts()
    request = Request(target=target)

    def look_only(session: Session, look: Look) -> RollbackPlan:
        return _prepare(run, request, session, look).plan

    return run.until_settled(look_only)


def _settle(rollback: _Rollback, session: Session, look: Look) -> Look:
    run = rollback.run
    prepare(run, session, look)
    if run.tables not in rollback.prepared:
        prepared = _prepare(run, rollback.request, session, look)
        _require_allowed(prepared.plan, rollback.request)
        rollback.prepared[run.tables] = prepared
        run.deadline.renew()
    prepared = rollback.prepared[run.tables]
    if not prepared.descent.order:
        return look
    return _locked(rollback, session, look, prepared)


def _locked(rollback: _Rollback, session: Session, look: Look, prepared: _Prepared) -> Look:
    """Take the lock, and undo what of the plan is not undone yet."""
    from automigrate.application import Application, claim

    run = rollback.run
    lock, look = take_lock(run, session, look)
    left = descents.remaining(prepared.descent, look.heads)
    if left is None:
        raise SchemaMismatchError(
            current=look.heads,
            wanted=prepared.plan.current,
            detail="another process changed it after the rollback had been planned",
        )
    if not left.order:
        journal = run.journal(session, run.schema(look))
        claim(run, journal, journal.entries(), "downgrade")
        return look
    if not rollback.request.allow_data_loss:
        _require_nothing_lost(session, prepared.plan, left)
    if run.options.backs_up:
        scripts = [step.sql for step in prepared.plan.steps if step.revision in left.order]
        run.backup = backup_before(run, session, look, lambda: scripts)
    seeing = run.on(run.tables)
    seeing._graph = left.graph  # noqa: SLF001 - with the revisions of the newer release
    status = seeing.judge(session, look)
    return Application(run, session, lock, look).downgrade(status, left)


# -- the plan --------------------------------------------------------------------------------------


def _prepare(run: Run, request: Request, session: Session, look: Look) -> _Prepared:
    recorded = run.journal(session, run.schema(look)).recorded()
    graph = descents.with_newer(run.graph, look.heads, run.wanted, recorded)
    if request.target is None:
        descent = descents.to_code(graph, look.heads, run.wanted)
    else:
        descent = descents.to_target(graph, look.heads, request.target)
    newer = {name: recorded[name] for name in descent.order if name not in run.graph}
    plan = planned(run, session, look, descent, newer)
    recorded_sql = {step.revision: step.sql or "" for step in plan.steps if step.recorded}
    return _Prepared(plan=plan, descent=replace(descent, recorded=recorded_sql))


def planned(
    run: Run,
    session: Session,
    look: Look,
    descent: Descent,
    newer: Mapping[str, Recorded],
) -> RollbackPlan:
    """Say what a descent does and destroys.

    Args:
        run: the call.
        session: to count with.
        look: what was seen on it.
        descent: what is to be undone.
        newer: those of its revisions that no script defines.
    """
    ways = _ways_back(run, descent, newer)
    scripts = {name: ways[name].sql for name in descent.order if not ways[name].irreversible}
    lost = losses(session.connection, scripts)
    steps = tuple(
        RollbackStep(
            revision=name,
            message="" if name in newer else run.graph[name].doc.partition("\n")[0],
            sql=ways[name].sql,
            obstacle=ways[name].obstacle,
            irreversible=ways[name].irreversible,
            recorded=name in newer,
            losses=lost.get(name, ()),
        )
        for name in descent.order
    )
    return RollbackPlan(
        current=tuple(sorted(look.heads)), target=tuple(sorted(descent.heads)), steps=steps
    )


def _ways_back(run: Run, descent: Descent, newer: Mapping[str, Recorded]) -> dict[str, WayBack]:
    """Render what undoes each revision, by its script or from the journal."""
    ways = {name: _recorded_way(recorded) for name, recorded in newer.items()}
    known = [name for name in descent.order if name not in newer]
    ways.update(rendered(run, known, "downgrade"))
    return ways


def _recorded_way(recorded: Recorded) -> WayBack:
    """Take the SQL of the journal, if its signature is right where a key is configured."""
    if recorded.sql is None:
        reason = recorded.obstacle or "the journal has no SQL for it"
        return WayBack(obstacle=f"this code has no script for it, and {reason}", irreversible=True)
    secret = signature.key()
    if secret is not None and not signature.signed(
        secret,
        recorded.signature,
        revision=recorded.revision,
        down_revisions=recorded.down_revisions,
        checksum=recorded.checksum,
        sql=recorded.sql,
    ):
        what = "is not signed" if recorded.signature is None else "has a wrong signature"
        return WayBack(
            obstacle=f"its SQL in the journal {what} for the key in {signature.KEY_VARIABLE}",
            irreversible=True,
        )
    return WayBack(recorded.sql)


# -- what is refused -------------------------------------------------------------------------------


def _require_allowed(plan: RollbackPlan, request: Request) -> None:
    """Refuse a plan that cannot be carried out or was not agreed to."""
    if plan.irreversible:
        raise RollbackRefusedError(
            [f"{step.revision} cannot be undone: {step.obstacle}" for step in plan.irreversible],
            remedy="Restore a backup, or deploy a newer release that repairs the schema forwards.",
        )
    if plan.losses and not request.allow_data_loss:
        raise _loss_refused(str(loss) for loss in plan.losses)
    if plan.steps and request.confirm is not None and not request.confirm(plan):
        raise RollbackRefusedError("the plan was not confirmed")


def _require_nothing_lost(session: Session, plan: RollbackPlan, left: Descent) -> None:
    """Count again under the lock: rows may have come since the plan was made."""
    scripts = {step.revision: step.sql for step in plan.steps if step.revision in left.order}
    lost = losses(session.connection, scripts)
    if any(lost.values()):
        raise _loss_refused(str(loss) for found in lost.values() for loss in found)


def _loss_refused(listed: Iterator[str]) -> RollbackRefusedError:
    return RollbackRefusedError(
        [f"data would be lost: {loss}" for loss in listed],
        remedy="Allow it with allow_data_loss (--allow-data-loss), with a backup before.",
    )
