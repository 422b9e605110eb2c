"""Upgrade through a pooler in transaction mode, where that was asked for (`pooler="transaction"`).

There is no session to hold a lock, to listen on or to set anything for. So each revision takes the
lock in its own transaction, reads the version again under it, and is applied only if nobody else
has been faster; waiting is polling. What needs more than one transaction is refused, before
anything is done where the script shows it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from automigrate.database.advisory_lock import TakenElsewhereError, TransactionLock
from automigrate.database.pooler import DIRECT_URL, Pooling, pooling
from automigrate.errors import LockTimeoutError, PoolerError
from automigrate.options import PoolerPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from automigrate.database.session import Look, Session
    from automigrate.run import Run

__all__ = ["is_shared", "outside_transaction", "upgrade"]

# REFRESH MATERIALIZED VIEW CONCURRENTLY runs in a transaction.
CONCURRENTLY = re.compile(
    r"\b(?:create\s+(?:unique\s+)?index|drop\s+index|reindex\b[^;]*?|"
    r"detach\s+partition\s+[^;]+?)\s+concurrently\b",
    re.IGNORECASE,
)
OPT_IN = (
    'Or set pooler="transaction" to have each revision take the lock in its own transaction, '
    "without CONCURRENTLY and autocommit blocks."
)


def is_shared(run: Run, session: Session, look: Look) -> bool:
    """Whether a pooler lends us the server connection for single transactions, and may (H9).

    Remembers on the session that one is lent to us for as long as we stay.

    Raises:
        PoolerError: policy, or the pooler's mode, does not allow to migrate through it.
    """
    found = pooling(session, look, run.connector.observer)
    match found:
        case Pooling.NONE:
            return False
        case Pooling.SESSION:
            session.lent = True
            session.protect()
            return False
        case Pooling.TRANSACTION:
            if run.options.pooler is PoolerPolicy.TRANSACTION:
                return True
            raise PoolerError(
                reason="the connection goes through a pooler in transaction mode, where the "
                "migration lock would stay behind on a connection that others use next",
                remedy=f"{DIRECT_URL} {OPT_IN}",
            )
        case Pooling.STATEMENT:
            raise PoolerError(
                reason="the connection goes through a pooler in statement mode, which allows no "
                "transactions",
                remedy=DIRECT_URL,
            )
    assert_never(found)


def upgrade(run: Run, session: Session, look: Look) -> Look:
    """Apply what is pending, a lock for each revision, alternating with whoever else does.

    Raises:
        PoolerError: a pending revision needs more than one transaction.
        LockTimeoutError: another process held the lock until the deadline.
    """
    from automigrate.application import Application

    if run.options.backs_up:
        raise PoolerError(
            reason="a backup before the upgrade needs a lock that outlives a transaction, and the "
            "connection goes through a pooler in transaction mode",
            remedy=DIRECT_URL,
        )
    lock = TransactionLock(session, run.schema(look), run.tables)
    while True:
        run.control.raise_if_stopping()
        look = session.look(run.tables)
        if run.is_right(look):
            return look
        status = run.judge(session, look)
        if not run.must_act(status):
            return look
        if status.holder is None:
            _refuse_outside_transaction(run, status.pending)
            try:
                return Application(run, session, lock, look).upgrade(status)
            except TakenElsewhereError:
                pass
        if run.deadline.passed:
            raise LockTimeoutError(
                holder=run.waiting.look_at_holder(lock), waited_seconds=run.waiting.seconds
            )
        run.waiting.once(lock)


def outside_transaction(source: str) -> str | None:
    """Say what in a script's `upgrade` cannot run in the revision's transaction, if that shows."""
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef) and function.name == "upgrade":
            return next(_outside_transaction(function), None)
    return None


def _outside_transaction(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr == "autocommit_block":
            yield "opens an autocommit block"
        elif _says_concurrently(node):
            yield "uses CONCURRENTLY"


def _says_concurrently(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        switched_off = isinstance(node.value, ast.Constant) and not node.value.value
        return node.arg == "postgresql_concurrently" and not switched_off
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CONCURRENTLY.search(node.value) is not None
    )


def _refuse_outside_transaction(run: Run, pending: Iterable[str]) -> None:
    for revision in pending:
        path = Path(run.graph[revision].file)
        if path.suffix != ".py":
            continue
        what = outside_transaction(path.read_text(encoding="utf-8"))
        if what is not None:
            raise PoolerError(
                reason=f"revision {revision} ({path.name}) {what}, which a pooler in transaction "
                "mode does not allow; nothing was applied",
                remedy=DIRECT_URL,
            )
