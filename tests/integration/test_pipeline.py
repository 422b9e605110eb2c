"""Revisions are sent before the server has answered those before them, and none is told apart."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import UpgradeError
from automigrate.database import pipeline
from automigrate.database.pipeline import Pipeline
from automigrate.events import RevisionApplied, RevisionRetried, RevisionStarted
from automigrate.testing import faults
from automigrate.testing.faults import Point
from tests.support.background import Background
from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from automigrate.database.pipeline import Sent
    from automigrate.options import OptionsInput
    from tests.support.projects import Project
    from tests.support.servers import Database

STATES = "select revision, state from automigrate_journal order by id"
SLOW = 'op.execute("create table slow as select 1 as x from pg_sleep(0.5)")'
GATE = 4711
GATED = f'op.execute("create table gated as select 1 from pg_advisory_xact_lock_shared({GATE})")'
"""Not done before the `gate` is opened."""
PATIENT: OptionsInput = {"lock_timeout": 60.0, "lock_timeout_max": 60.0}
"""Where a revision waits at the gate."""


@pytest.fixture
def gate(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the server busy until the run has prepared and sent what it can, however slow it is."""
    awaited = Pipeline._answers
    with psycopg.connect(database.url, autocommit=True) as keeper:
        shut = f"select pg_advisory_lock({GATE})"
        keeper.execute(shut)

        def opening(sent_ones: Pipeline, sent: Sent) -> None:
            keeper.execute("select pg_advisory_unlock_all()")
            awaited(sent_ones, sent)
            keeper.execute(shut)

        monkeypatch.setattr(Pipeline, "_answers", opening)
        yield


@pytest.fixture
def on_the_way(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note before each answer how many transactions are on their way."""
    counts: list[int] = []
    receive = Pipeline._answers

    def noting(sent_ones: Pipeline, sent: Sent) -> None:
        counts.append(len(sent_ones._sent))
        receive(sent_ones, sent)

    monkeypatch.setattr(Pipeline, "_answers", noting)
    return counts


@pytest.mark.usefixtures("gate")
def test_a_few_are_on_the_way_while_the_server_works(
    database: Database, project: Project, on_the_way: list[int]
) -> None:
    """No more than can be taken back soon; each of them at once when there is room."""
    project.add("r0001", upgrade=GATED)
    names = project.extend(7)
    report = automigrate.upgrade(database.url, project.scripts, **PATIENT)
    assert [item.revision for item in report.applied] == ["r0001", *names]
    assert on_the_way[0] == pipeline.LONGEST
    assert max(on_the_way) == pipeline.LONGEST
    assert len(on_the_way) == 8


def test_each_has_its_own_time_and_journal_row(database: Database, project: Project) -> None:
    """`now()` goes on from one to the next, as it does when each is sent by itself."""
    project.add("r0001", upgrade=f'{SLOW}; op.execute("create table t (at timestamptz)")')
    for name in ("r0002", "r0003", "r0004"):
        project.add(name, upgrade='op.execute("insert into t values (now())")')
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select count(distinct at) from t") == [(3,)]
    rows = database.rows("select started_at, finished_at from automigrate_journal order by id")
    assert all(began < ended for began, ended in rows)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(rows))
    assert database.rows("select count(*) from t, automigrate_journal where at = started_at") == [
        (3,)
    ]


@pytest.mark.usefixtures("gate")
def test_nothing_behind_a_failure_is_carried_out(
    database: Database, project: Project, on_the_way: list[int]
) -> None:
    """Also when it fails at its commit; the statement at fault is named."""
    project.add("r0001", upgrade=GATED)
    project.add(
        "r0002",
        upgrade="""
            op.execute("create table t (x int unique deferrable initially deferred)")
            op.execute("insert into t values (1), (1)")
        """,
    )
    project.add("r0003", upgrade='op.execute("create table behind ()")')
    with pytest.raises(UpgradeError, match="t_x_key") as caught:
        automigrate.upgrade(database.url, project.scripts, **PATIENT)
    assert on_the_way == [3, 2]
    assert caught.value.applied == ("r0001",)
    assert caught.value.failed == "r0002"
    assert caught.value.pending == ("r0002", "r0003")
    assert caught.value.rolled_back
    assert database.rows(STATES) == [("r0001", "applied")]
    assert database.rows("select to_regclass('behind'), to_regclass('t')") == [(None, None)]


def test_branches_stay_behind_one_that_fails(database: Database, project: Project) -> None:
    """Nothing in the version table holds a second base back, only the order of the run."""
    project.add("r0001", upgrade=SLOW)
    project.add("r0002", upgrade='op.execute("drop table nowhere")')
    project.add("r0003", down=None, upgrade='op.execute("create table other ()")')
    with pytest.raises(UpgradeError, match="nowhere") as caught:
        automigrate.upgrade(database.url, project.scripts, target="heads")
    done = caught.value.applied
    assert caught.value.failed == "r0002"
    found = {row[0] for row in database.rows("select revision from automigrate_journal")}
    assert found == set(done)
    others = database.rows("select to_regclass('other') is not null")
    assert others == [("r0003" in done,)]


def test_a_table_lock_is_tried_again_and_what_follows_is_sent_anew(
    database: Database, project: Project
) -> None:
    """The failure on the way is the first attempt; each revision is told once as applied."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade=SLOW)
    project.add("r0003", upgrade='op.execute("alter table t_r0001 add x int")')
    project.extend(3)
    with psycopg.connect(database.url) as blocker:
        blocker.execute("lock table t_r0001 in access share mode")
        running = Background(database.url, project, lock_timeout=0.1)
        until(lambda: running.told(RevisionRetried), "it has run into the lock")
    running.finish()
    attempts = [(event.revision, event.attempt) for event in running.told(RevisionStarted)]
    assert [attempt for revision, attempt in attempts if revision == "r0003"][:2] == [1, 2]
    assert all(attempt == 1 for revision, attempt in attempts if revision != "r0003")
    assert [event.revision for event in running.told(RevisionApplied)] == [
        f"r000{number}" for number in range(2, 7)
    ]
    assert database.rows(STATES) == [(f"r000{number}", "applied") for number in range(1, 7)]


@pytest.mark.usefixtures("gate")
def test_several_statements_in_one_text_wait_for_their_turn(
    database: Database, project: Project, on_the_way: list[int]
) -> None:
    """They cannot be sent in a pipeline; those before and behind them can."""
    project.add("r0001", upgrade=GATED)
    project.extend(1)
    project.add("r0003", upgrade='op.execute("create table a (); create table b ()")')
    project.add("r0004", upgrade=GATED.replace("gated", "gated_too"))
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts, **PATIENT)
    assert on_the_way == [2, 1, 2, 1]
    assert database.rows(STATES) == [(f"r000{number}", "applied") for number in range(1, 6)]


@pytest.mark.parametrize("cut", [faults.terminate_backend, faults.drop_connection])
def test_all_that_was_on_the_way_is_accounted_for(
    database: Database, project: Project, cut: Callable[[faults.Reached], object]
) -> None:
    """The connection ends while several are on their way: each is applied once, and told."""
    names = project.extend(12)
    with faults.injected(at_passage(3, cut), in_one_message=True):
        report = automigrate.upgrade(database.url, project.scripts)
    assert [item.revision for item in report.applied] == names
    assert database.rows(STATES) == [(name, "applied") for name in names]


def at_passage(number: int, action: faults.Action) -> faults.Action:
    """Do something where the answers to a transaction are awaited."""
    passed: list[Point] = []

    def act(reached: faults.Reached) -> None:
        if reached.point is Point.MESSAGE_SENT:
            passed.append(reached.point)
            if len(passed) == number:
                action(reached)

    return act


def test_an_exception_from_within_leaves_the_session_in_order(
    database: Database, project: Project
) -> None:
    """Whatever is raised while answers are awaited: what is on its way is cancelled and read."""
    project.extend(1)
    project.add("r0002", upgrade=SLOW.replace("0.5", "60"))
    project.extend(1)
    raising = faults.raising(RuntimeError("from within"))
    with (
        faults.injected(at_passage(2, raising), in_one_message=True),
        pytest.raises(UpgradeError, match="from within"),
    ):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows(STATES) == [("r0001", "applied")]
    assert database.rows("select to_regclass('slow'), to_regclass('t_r0003')") == [(None, None)]


@pytest.mark.usefixtures("gate")
def test_what_was_carried_out_before_it_could_be_cancelled_is_counted(
    database: Database, project: Project
) -> None:
    """The error that comes from within tells what the version table tells."""
    project.add("r0001", upgrade=GATED)
    names = ["r0001", *project.extend(7)]

    def fail(reached: faults.Reached) -> None:
        version = "select version_num from alembic_version"
        until(lambda: database.rows(version) >= [("r0004",)], "they are carried out")
        faults.raising(RuntimeError("from within"))(reached)

    with (
        faults.injected(at_passage(2, fail), in_one_message=True),
        pytest.raises(UpgradeError, match="from within") as caught,
    ):
        automigrate.upgrade(database.url, project.scripts, **PATIENT)
    done = [row[0] for row in database.rows("select revision from automigrate_journal order by id")]
    assert len(done) >= 4
    assert list(caught.value.applied) == done
    assert list(caught.value.pending) == names[len(done) :]
    assert caught.value.failed == names[len(done)]
    again = automigrate.upgrade(database.url, project.scripts)
    assert [item.revision for item in again.applied] == names[len(done) :]


def test_a_character_that_the_connection_cannot_send_fails_its_own_revision(
    database: Database, project: Project
) -> None:
    """Those before it are applied, and it is the one that is named."""
    project.add("r0001", upgrade=SLOW)
    project.add("r0002", upgrade="""op.execute("comment on table slow is '\\u20ac'")""")
    url = f"{database.url}{'&' if '?' in database.url else '?'}client_encoding=latin1"
    with pytest.raises(UpgradeError) as caught:
        automigrate.upgrade(url, project.scripts)
    assert caught.value.failed == "r0002"
    assert caught.value.applied == ("r0001",)
    assert database.rows(STATES) == [("r0001", "applied")]


@pytest.mark.parametrize(
    ("driver", "arrives"), [("psycopg", "\u00fc"), ("psycopg2", "\u00c3\u00bc")]
)
def test_an_encoding_that_a_revision_sets_holds_for_those_behind_it(
    driver: str, arrives: str, database: Database, project: Project
) -> None:
    """What is sent is written in it, unless the project's driver does not hear of it."""
    project.set_url(f"postgresql+{driver}:///of_the_project")
    project.add("r0001", upgrade='op.execute("create table t (x text)")')
    project.add("r0002", upgrade="op.execute(\"set client_encoding = 'latin1'\")")
    project.add("r0003", upgrade="op.execute(\"insert into t values ('\u00fc')\")")
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select x from t") == [(arrives,)]
    other = "op.get_bind(); op.execute(\"insert into t values ('\u00fc')\")"
    project.add("r0004", upgrade="op.execute(\"set client_encoding = 'latin1'\")")
    project.add("r0005", upgrade=other)
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select x from t") == [(arrives,), (arrives,)]
