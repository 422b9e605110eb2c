"""Every fault at every point of the sequence leaves a right schema or a clear error.

By default a representative part of the matrix runs; ``AUTOMIGRATE_FULL_MATRIX=1`` runs all of it.
"""

from __future__ import annotations

import enum
import itertools
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest

from automigrate.testing.faults import Point
from tests.support.projects import Project
from tests.support.proxy import FaultProxy
from tests.support.servers import Database, new_server
from tests.support.victims import LONG, Ended, Victim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer

EVERYTHING = os.environ.get("AUTOMIGRATE_FULL_MATRIX") == "1"

ADVISORY = """
select count(*) from pg_locks l where l.locktype = 'advisory'
  and l.database = (select oid from pg_database where datname = current_database())
"""
INVALID = "select indexrelid::regclass::text from pg_index where not indisvalid"
JOURNAL = "select revision, state from automigrate_journal order by id"
CREATE = """
    op.execute("create table account (id integer primary key, balance bigint not null)")
    op.execute("insert into account select n, 1 from generate_series(1, 20) n")
"""
DOUBLE = 'op.execute("update account set balance = balance * 2")\n'
INDEX = """
with op.get_context().autocommit_block():
    op.execute("create index concurrently i_{0} on account (balance)")
"""


class Fault(enum.StrEnum):
    """What happens to the process at the point."""

    KILL = "kill -9"
    SIGTERM = "SIGTERM"
    TERMINATE = "backend terminated"
    CRASH = "server crashed"
    CUT = "network cut"
    SILENCE = "network silent"


@dataclass(frozen=True, kw_only=True)
class History:
    """A history of revisions, and what it leaves when all are applied once."""

    revisions: dict[str, str]
    balance: int
    hit: str
    """The revision at which the fault happens."""
    stubborn: bool = False
    """Whether an interruption of that revision between its commits cannot be recovered from."""


HISTORIES = {
    "transactional": History(
        revisions={"r1": CREATE, "r2": DOUBLE, "r3": DOUBLE}, balance=4, hit="r2"
    ),
    "concurrently": History(
        revisions={"r1": CREATE, "r2": INDEX.format("a") + INDEX.format("b"), "r3": DOUBLE},
        balance=2,
        hit="r2",
    ),
    "mixed": History(
        revisions={"r1": CREATE, "r2": DOUBLE, "r3": INDEX.format("a") + DOUBLE, "r4": DOUBLE},
        balance=8,
        hit="r3",
    ),
    "stubborn": History(
        revisions={"r1": CREATE, "r2": DOUBLE + INDEX.format("a") + DOUBLE},
        balance=4,
        hit="r2",
        stubborn=True,
    ),
}
AT_REVISION = {
    Point.REVISION_BEGUN,
    Point.IN_AUTOCOMMIT,
    Point.AUTOCOMMIT_LEFT,
    Point.SCRIPT_RUN,
    Point.VERSION_UPDATED,
    Point.COMMITTED,
}
BETWEEN_COMMITS = {
    Point.IN_AUTOCOMMIT,
    Point.AUTOCOMMIT_LEFT,
    Point.SCRIPT_RUN,
    Point.VERSION_UPDATED,
}

Cell = tuple[Fault, Point, str, int]


def cells() -> list[Cell]:
    """List the cells of the matrix that this run covers."""
    found = [
        (fault, point, history, count)
        for fault, point, history, count in itertools.product(Fault, Point, HISTORIES, (1, 5))
        if not (
            history == "transactional" and point in {Point.IN_AUTOCOMMIT, Point.AUTOCOMMIT_LEFT}
        )
    ]
    return found if EVERYTHING else [cell for cell in found if representative(*cell)]


def representative(fault: Fault, point: Point, history: str, count: int) -> bool:
    """Whether a cell belongs to the part that always runs."""
    if point is Point.MESSAGE_SENT:
        return count == 1 and (history == "transactional" or fault is Fault.KILL)
    if count == 5:
        return history == "mixed" and (fault, point) in {
            (Fault.KILL, Point.LOCK_TAKEN),
            (Fault.KILL, Point.SCRIPT_RUN),
            (Fault.SIGTERM, Point.REVISION_BEGUN),
            (Fault.TERMINATE, Point.VERSION_UPDATED),
            (Fault.CRASH, Point.AUTOCOMMIT_LEFT),
            (Fault.CUT, Point.COMMITTED),
            (Fault.SILENCE, Point.SCRIPT_RUN),
        }
    if history == "mixed":
        return fault is Fault.KILL or point in {
            Point.LOOKED,
            Point.IN_AUTOCOMMIT,
            Point.VERSION_UPDATED,
            Point.COMMITTED,
        }
    if history == "stubborn":
        return point is Point.AUTOCOMMIT_LEFT
    return fault in {Fault.KILL, Fault.CUT} and point in {Point.SCRIPT_RUN, Point.COMMITTED}


@pytest.fixture(scope="module")
def crashing_server() -> Iterator[EmbeddedServer]:
    """A server of this module's own, which crashes now and then."""
    with new_server() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(
    crashing_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """Return the schema that a history leaves when nothing happens."""
    known: dict[str, str] = {}

    def schema(history: str) -> str:
        if history not in known:
            database = Database(crashing_server, f"undisturbed_{history}")
            project = write(history, tmp_path_factory.mktemp(history))
            victim = Victim(database.url, project.scripts)
            assert victim.finish().code == 0
            victim.close()
            known[history] = database.dump_schema()
        return known[history]

    return schema


def write(history: str, directory: Path) -> Project:
    """Write the project of a history."""
    project = Project(directory)
    for revision, upgrade in HISTORIES[history].revisions.items():
        project.add(revision, upgrade=upgrade)
    return project


@pytest.mark.fault
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("fault", "point", "history", "count"),
    [pytest.param(*cell, id="-".join(map(str, cell))) for cell in cells()],
)
def test_a_fault_leaves_a_right_schema_or_a_clear_error(  # noqa: PLR0917 - a cell and fixtures
    fault: Fault,
    point: Point,
    history: str,
    count: int,
    crashing_server: EmbeddedServer,
    undisturbed: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """Somebody reaches the target within the deadline, each revision is applied once."""
    expected = undisturbed(history)
    project = write(history, tmp_path)
    database = Database(crashing_server, f"matrix_{time.monotonic_ns()}")
    told = HISTORIES[history]
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(crashing_server.host, crashing_server.port))
        through = crashing_server.tcp_url(database.name, host=proxy.host, port=proxy.port)
        victim = Victim(
            through,
            project.scripts,
            point=point,
            revision=told.hit if point in AT_REVISION else None,
        )
        stack.callback(victim.close)
        assert victim.reached(), f"never came to {point}: {victim.finish()}"
        peers = [Victim(database.tcp_url, project.scripts) for _ in range(count - 1)]
        for peer in peers:
            stack.callback(peer.close)
        inflict(fault, victim, proxy, crashing_server)
        ended = [victim.finish(), *(peer.finish() for peer in peers)]
        interrupted = told.stubborn and point in BETWEEN_COMMITS and fault is not Fault.SIGTERM
        if not interrupted and fault in {Fault.KILL, Fault.SIGTERM}:
            last = Victim(database.tcp_url, project.scripts)
            stack.callback(last.close)
            ended.append(last.finish())
    check_ends(fault, interrupted, ended)
    if interrupted:
        check_interrupted(database, told)
    else:
        check_applied(database, told)
        assert database.dump_schema() == expected
    assert database.drop() == []


def inflict(fault: Fault, victim: Victim, proxy: FaultProxy, server: EmbeddedServer) -> None:
    """Make the fault happen while the victim holds up, and let it go on."""
    match fault:
        case Fault.KILL:
            victim.signal(signal.SIGKILL)
        case Fault.SIGTERM:
            victim.signal(signal.SIGTERM)
        case Fault.TERMINATE:
            with psycopg.connect(server.url(), autocommit=True) as connection:
                connection.execute("select pg_terminate_backend(%s, 5000)", (victim.backend,))
        case Fault.CRASH:
            server.restart("immediate")
        case Fault.CUT:
            proxy.cut()
        case Fault.SILENCE:
            proxy.silence()
            victim.go()
            time.sleep(0.5)
            proxy.cut()
            proxy.resume()
    victim.go()


def check_ends(fault: Fault, interrupted: bool, ended: Sequence[Ended]) -> None:
    """Assert that all ended as the fault allows: with the right schema or the right error."""
    victim, *others = ended
    if interrupted:
        allowed = {None} if fault is Fault.KILL else {"InterruptedRevisionError", "UpgradeError"}
        assert victim.error in allowed, ended
        assert {other.error for other in others} <= {"InterruptedRevisionError"}, ended
        return
    if fault is Fault.KILL:
        assert victim.code == -signal.SIGKILL, ended
    elif fault is Fault.SIGTERM:
        assert victim.code in {0, 9}, ended
    else:
        assert victim.code == 0, ended
    assert [other.code for other in others] == [0] * len(others), ended


def check_applied(database: Database, history: History) -> None:
    """Assert that each revision took effect once, and nothing is left over."""
    names = list(history.revisions)
    assert database.rows("select distinct balance from account") == [(history.balance,)]
    assert database.rows("select version_num from alembic_version") == [(names[-1],)]
    assert database.rows(INVALID) == []
    journal = database.rows(JOURNAL)
    assert [revision for revision, state in journal if state == "applied"] == names
    assert {state for _, state in journal} <= {"applied", "reverted"}
    until_unlocked(database)


def check_interrupted(database: Database, history: History) -> None:
    """Assert that the journal names the revision that was interrupted, and nobody went on."""
    assert database.rows("select version_num from alembic_version") == [("r1",)]
    assert dict(database.rows(JOURNAL))[history.hit] in {"running", "failed"}
    until_unlocked(database)


def until_unlocked(database: Database) -> None:
    """Wait until no advisory lock is left in the database."""
    deadline = time.monotonic() + LONG
    while database.rows(ADVISORY) != [(0,)]:
        assert time.monotonic() < deadline, "the lock is still held"
        time.sleep(0.05)
