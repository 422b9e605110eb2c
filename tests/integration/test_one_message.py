"""Plain revisions travel as one message, and nobody can tell but by the time it takes."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

import automigrate
from automigrate import StoppedError, UpgradeError
from automigrate.alembic_bridge import recording
from automigrate.alembic_bridge.transaction import RevisionTransaction
from automigrate.alembic_bridge.watch import Watch
from automigrate.database.message import Message
from automigrate.database.url import DatabaseURL
from automigrate.events import RevisionApplied, RevisionRetried, RevisionStarted
from automigrate.testing import faults
from automigrate.testing.faults import Point
from tests.support.background import Background
from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.events import Event
    from tests.support.projects import Project
    from tests.support.servers import Database

STATES = "select revision, state from automigrate_journal order by id"


def messages(database: Database, project: Project) -> int:
    """Upgrade, and count the revisions that were sent as one message."""
    seen: list[faults.Reached] = []
    with faults.injected(seen.append, in_one_message=True):
        automigrate.upgrade(database.url, project.scripts)
    return sum(reached.point is Point.MESSAGE_SENT for reached in seen)


def test_plain_revisions_are_one_message_each(database: Database, project: Project) -> None:
    """Also the first and the last; the journal shows nothing unusual."""
    project.extend(3)
    assert messages(database, project) == 3
    assert database.rows(STATES) == [(f"r000{n}", "applied") for n in (1, 2, 3)]
    assert database.rows(
        "select count(*) from automigrate_journal where started_at <= finished_at "
        "and phase = 'transaction' and checksum is not null"
    ) == [(3,)]


def test_operations_types_and_enums_are_as_statement_by_statement(
    database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """The schema is the same when the same revisions are run without messages."""
    project.add(
        "r0001",
        imports="import sqlalchemy as sa\nfrom sqlalchemy.dialects import postgresql",
        upgrade="""
            op.create_table(
                "item",
                sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
                sa.Column("kind", sa.Enum("a", "b", name="kind"), nullable=False),
                sa.Column("share", sa.Numeric(5, 2), server_default="0"),
                sa.Column("more", postgresql.JSONB(), server_default=sa.text("'{\\"a:b\\": 1}'")),
                sa.CheckConstraint("share >= 0", name="positive"),
                comment="100 % of it",
            )
            op.create_index("item_kind", "item", ["kind"], postgresql_where=sa.text("share > 0"))
            op.execute("insert into item (kind) values ('a'); insert into item (kind) values ('b')")
        """,
    )
    project.add(
        "r0002",
        imports="import sqlalchemy as sa",
        upgrade="""
            with op.batch_alter_table("item") as batch_op:
                batch_op.add_column(sa.Column("note", sa.Text(), nullable=True))
                batch_op.alter_column("share", type_=sa.Numeric(7, 2), existing_nullable=True)
            op.execute("update item set note = '50 %' where kind = 'a' -- half")
        """,
    )
    assert messages(database, project) == 2
    other_database = databases()
    with faults.injected(lambda _: None):
        automigrate.upgrade(other_database.url, project.scripts)
    assert database.dump_schema() == other_database.dump_schema()
    rows = "select id, kind::text, note from item order by id"
    assert database.rows(rows) == other_database.rows(rows) == [(1, "a", "50 %"), (2, "b", None)]


def test_operations_are_noted_as_sqlalchemy_would_send_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken before it gets to a cursor is what would have come there."""
    table = sa.Table("t", sa.MetaData(schema="s"), sa.Column("id", sa.Integer(), primary_key=True))

    def upgrade(op: Operations) -> None:
        for statement in (
            "create table a (b text default 'x'::text)",
            "insert into a values ('12:30'), ('a\\:b'), ('50 %'), (E'\\\\:c')",
            "update a set b = ':::' where b like '%:'",
            sa.text("comment on table a is '100 %'"),
            sa.text("delete from a"),
            sa.text("delete from a").execution_options(no_parameters=True),
            sa.DDL("create schema s"),  # type: ignore[no-untyped-call]
            sa.DDL("comment on schema s is '%%(x)s'"),  # type: ignore[no-untyped-call]
            sa.schema.CreateTable(table),
            sa.schema.SetTableComment(sa.Table("u", sa.MetaData(), comment="5 % \\ '")),
        ):
            op.execute(statement)
        op.create_table(
            "v",
            sa.Column("kind", sa.Enum("a", "b%", name="kind"), comment="what: it is"),
            sa.Column("part", sa.Numeric(3), sa.CheckConstraint("part % 2 = 0", name="even")),
        )
        op.create_index("i", "v", [sa.text("(part::text)")], postgresql_where=sa.text("part > 0"))
        op.alter_column("v", "part", server_default=sa.text("'1'::numeric"))
        op.bulk_insert(sa.table("v", sa.column("part")), [])

    monkeypatch.setattr(recording, "_text_of", lambda *_: None)
    sent = recorded(database, upgrade)
    monkeypatch.undo()
    assert recorded(database, upgrade) == sent
    assert len(sent) == 15


def recorded(database: Database, upgrade: Callable[[Operations], None]) -> list[str]:
    """Record what a function does."""
    engine = sa.create_engine(DatabaseURL.parse(database.url).sqlalchemy_url())
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        context = MigrationContext.configure(connection)
        with Watch(connection, raw).recording() as recorder:
            found = recorder.record(lambda: upgrade(Operations(context)), {}, context.impl)
        assert found is not None
    engine.dispose()
    return found


def test_a_failing_statement_is_named_and_all_is_undone(
    database: Database, project: Project
) -> None:
    """The error is the server's; a note on its cause says which statement it was."""
    project.extend(1)
    project.add(
        "r0002",
        upgrade="""
            op.execute("create table half ()")
            op.execute("alter table nowhere add x int")
        """,
    )
    project.extend(1, first=3)
    with pytest.raises(UpgradeError, match='UndefinedTable: relation "nowhere"') as caught:
        automigrate.upgrade(database.url, project.scripts)
    error = caught.value
    assert (error.failed, error.rolled_back) == ("r0002", True)
    assert list(error.applied) == ["r0001"]
    assert error.__cause__ is not None
    assert error.__cause__.__notes__ == ["in the statement: alter table nowhere add x int"]
    assert database.rows("select to_regclass('half')") == [(None,)]
    assert database.rows(STATES) == [("r0001", "applied")]


def test_a_script_that_raises_is_run_in_its_turn(database: Database, project: Project) -> None:
    """What it raises while it is recorded ahead does not hit the revision before it."""
    project.extend(1)
    project.add(
        "r0002",
        upgrade="""
            op.execute("create table half ()")
            raise ValueError("wrong by design")
        """,
    )
    with pytest.raises(UpgradeError, match="ValueError: wrong by design") as caught:
        automigrate.upgrade(database.url, project.scripts)
    assert caught.value.failed == "r0002"
    assert database.rows(STATES) == [("r0001", "applied")]
    assert database.rows("select to_regclass('half')") == [(None,)]


def test_effects_outside_of_the_database_happen_once(database: Database, project: Project) -> None:
    """A script that does more than build SQL is never run ahead, or twice."""
    for number in (1, 2, 3):
        project.add(
            f"r000{number}",
            imports="import pathlib",
            upgrade=f"""
                op.execute("create table t{number} ()")
                with pathlib.Path({str(project.directory / "trace")!r}).open("a") as trace:
                    trace.write("{number}")
            """,
        )
    assert messages(database, project) == 0
    assert (project.directory / "trace").read_text() == "123"


def test_prepared_statements_may_be_dropped_by_a_revision(
    database: Database, project: Project
) -> None:
    """After a revision that could have dropped them, they are prepared anew."""
    project.extend(2)
    project.add("r0003", upgrade='op.execute("deallocate all")')
    project.extend(2)
    project.add("r0006", upgrade='op.get_bind().exec_driver_sql("discard temp")')
    project.extend(2)
    assert messages(database, project) == 6
    assert database.rows(STATES) == [(f"r000{n}", "applied") for n in range(1, 9)]


def test_plain_and_other_revisions_alternate(database: Database, project: Project) -> None:
    """What was recorded ahead leaves nothing behind for the one that is run by statement."""
    for number in range(1, 8):
        answer = "op.get_bind().execute(sa.text('select 1')).scalar()" if number % 2 else "pass"
        project.add(
            f"r000{number}",
            imports="import sqlalchemy as sa",
            upgrade=f"""
                {answer}
                op.execute("create table t{number} ()")
            """,
        )
    assert messages(database, project) == 3
    assert database.rows(STATES) == [(f"r000{n}", "applied") for n in range(1, 8)]


def test_while_the_server_works_what_follows_is_prepared(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One revision after the other, up to the first whose SQL depends on what the database says."""
    project.add("r0001", upgrade='op.execute("create table t_r0001 as select pg_sleep(1)::text")')
    for name in ("r0002", "r0003"):
        project.add(name, upgrade=f'op.execute("create table t_{name} ()")')
    project.add("r0004", upgrade='op.get_bind().exec_driver_sql("create table t_r0004 ()")')
    project.add("r0005", upgrade='op.execute("create table t_r0005 ()")')
    prepared: list[str] = []
    seen: dict[str, list[str]] = {}
    prepare = RevisionTransaction.prepare

    def noting(transaction: RevisionTransaction) -> bool:
        if transaction.revision not in prepared:
            prepared.append(transaction.revision)
        return prepare(transaction)

    def heard(event: Event) -> None:
        if isinstance(event, RevisionApplied):
            seen[event.revision] = list(prepared)

    monkeypatch.setattr(RevisionTransaction, "prepare", noting)
    automigrate.upgrade(database.url, project.scripts, on_event=heard)
    assert seen["r0001"] == ["r0001", "r0002", "r0003", "r0004"]
    assert seen["r0004"] == seen["r0001"]
    assert seen["r0005"] == [*seen["r0001"], "r0005"]
    assert database.rows(STATES) == [(f"r000{n}", "applied") for n in (1, 2, 3, 4, 5)]


def test_what_is_prepared_in_vain_leaves_no_trace(database: Database, project: Project) -> None:
    """The one before fails, for good the first time; then everything runs in its turn."""
    project.add("r0001", upgrade='op.execute("insert into aside.later values (1)")')
    project.add("r0002", upgrade='op.execute("create table t_r0002 ()")')
    with pytest.raises(UpgradeError, match="aside"):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select to_regclass('t_r0002')") == [(None,)]
    database.execute("create schema aside")
    database.execute("create table aside.later (id integer)")
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows(STATES) == [("r0001", "applied"), ("r0002", "applied")]


def test_a_recording_that_ends_half_way_sends_nothing(database: Database, project: Project) -> None:
    """A statement with parameters ends it; the revision is applied once, by statement."""
    project.add(
        "r0001",
        imports="import sqlalchemy as sa",
        upgrade="""
            table = op.create_table("t", sa.Column("x", sa.Integer()))
            op.bulk_insert(table, [{"x": 1}, {"x": 2}])
            op.execute(table.update().values(x=table.c.x + 10))
        """,
    )
    project.extend(1)
    assert messages(database, project) == 1
    assert database.rows("select x from t order by 1") == [(11,), (12,)]


def test_a_recording_that_ends_half_way_leaves_types_to_be_created(
    database: Database, project: Project
) -> None:
    """Alembic remembers which types it has created, and would not do it when it is done."""
    project.add(
        "r0001",
        imports="import sqlalchemy as sa",
        upgrade="""
            table = op.create_table("t", sa.Column("kind", sa.Enum("a", "b", name="kind")))
            op.bulk_insert(table, [{"kind": "a"}])
        """,
    )
    assert messages(database, project) == 0
    assert database.rows("select kind::text from t") == [("a",)]


def test_a_recording_that_ends_half_way_takes_nothing_from_the_script(
    database: Database, project: Project
) -> None:
    """What an iterator has given, and what a MetaData has got, would not be there again."""
    project.add(
        "r0001",
        imports="import itertools\nimport sqlalchemy as sa",
        extra_module_code='NAMES = itertools.chain("ab", "c")\nMETADATA = sa.MetaData()',
        upgrade="""
            op.execute("create table t (x text)")
            for name in NAMES:
                op.execute(f"insert into t values ('{name}')")
            table = sa.Table("t", METADATA, sa.Column("x", sa.Text()))
            op.bulk_insert(table, [{"x": "d"}])
        """,
    )
    assert messages(database, project) == 0
    assert database.rows("select string_agg(x, '' order by x) from t") == [("abcd",)]


def test_a_copy_without_data_fails(database: Database, project: Project) -> None:
    """Behind other statements of one text, too; nobody waits for data that do not come."""
    project.add("r0001", upgrade='op.execute("create table t (x integer); copy t (x) from stdin")')
    with pytest.raises(UpgradeError, match="COPY cannot be used"):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select to_regclass('t')") == [(None,)]


@pytest.mark.parametrize("copy", ["copy t from stdin", "copy t to stdout"])
def test_a_copy_in_a_message_is_ended(copy: str, database: Database) -> None:
    """The next answer comes all the same; libpq would repeat for ever that a copy has begun."""
    with database.connect() as connection:
        connection.execute("create table t as select 1 as x")
        with suppress(psycopg.Error):
            Message(connection, [copy, "select 1"]).exchange()
        assert connection.execute("select x from t").fetchall() == [(1,)]


def test_a_table_lock_that_is_not_to_be_had_is_tried_again(
    database: Database, project: Project
) -> None:
    """A message that ran into lock_timeout is sent again as a whole."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    project.add(
        "r0002",
        upgrade="""
            op.execute("create table before_it ()")
            op.execute("alter table t_r0001 add x int")
        """,
    )
    with psycopg.connect(database.url) as blocker:
        blocker.execute("lock table t_r0001 in access share mode")
        running = Background(database.url, project, lock_timeout=0.1)
        until(lambda: running.told(RevisionRetried), "it has run into the lock")
    running.finish()
    attempts = [event.attempt for event in running.told(RevisionStarted)]
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(attempts) > 1
    assert running.told(RevisionRetried)[0].sqlstate == "55P03"
    assert database.rows(STATES) == [("r0001", "applied"), ("r0002", "applied")]


def test_a_type_is_created_again_when_its_revision_is_tried_again(
    database: Database, project: Project
) -> None:
    """Alembic remembers which types it has created, also those that were rolled back."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    project.add(
        "r0002",
        imports="import sqlalchemy as sa",
        upgrade="""
            op.get_bind().execute(sa.text("select 1")).scalar_one()
            op.create_table("t", sa.Column("kind", sa.Enum("a", "b", name="kind")))
            op.execute("alter table t_r0001 add x int")
        """,
    )
    with psycopg.connect(database.url) as blocker:
        blocker.execute("lock table t_r0001 in access share mode")
        running = Background(database.url, project, lock_timeout=0.1)
        until(lambda: running.told(RevisionRetried), "it has run into the lock")
    running.finish()
    assert database.rows("select count(*) from t") == [(0,)]


def test_an_abort_while_the_server_works_undoes_the_revision(
    database: Database, project: Project
) -> None:
    """The statement is cancelled; what was applied before stays."""
    project.extend(1)
    project.add(
        "r0002", upgrade='op.execute("create table slow as select 1 as x from pg_sleep(60)")'
    )
    migrator = automigrate.Migrator(database.url, project.scripts)
    begun = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, RevisionStarted) and event.revision == "r0002":
            begun.set()

    migrator.add_listener(listen)
    stopped: list[BaseException] = []

    def upgrade() -> None:
        try:
            migrator.upgrade()
        except BaseException as error:  # noqa: BLE001 - looked at below
            stopped.append(error)

    thread = threading.Thread(target=upgrade)
    thread.start()
    assert begun.wait(20.0)
    until = time.monotonic() + 20.0
    working = "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> "
    while database.rows(f"{working} pg_backend_pid()") == [(0,)]:
        assert time.monotonic() < until
    migrator.abort()
    thread.join(20.0)
    assert [type(error) for error in stopped] == [StoppedError]
    assert database.rows(STATES) == [("r0001", "applied")]
    assert database.rows("select to_regclass('slow')") == [(None,)]


def test_events_tell_each_revision_after_the_one_before(
    database: Database, project: Project
) -> None:
    """Preparing a revision ahead is not told as its start."""
    project.extend(3)
    seen: list[tuple[str, str]] = []

    def listen(event: Event) -> None:
        if isinstance(event, RevisionStarted | RevisionApplied):
            seen.append((type(event).__name__, event.revision))

    automigrate.upgrade(database.url, project.scripts, on_event=listen)
    assert seen == [
        (name, f"r000{n}") for n in (1, 2, 3) for name in ("RevisionStarted", "RevisionApplied")
    ]


@pytest.mark.parametrize("copy", ["copy t from stdin", "/* rows */ COPY t TO STDOUT"])
def test_a_copy_behind_another_statement_fails_instead_of_waiting(
    copy: str, database: Database, project: Project
) -> None:
    """The server would wait for rows that nobody sends; in a literal it is no statement."""
    made = "create table t (x text); comment on table t is '; copy t from stdin'"
    project.add("r0001", upgrade=f'op.execute("{made}")')
    project.add("r0002", upgrade=f'op.execute("create table u (i int); {copy}")')
    with pytest.raises(UpgradeError, match="COPY"):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select to_regclass('t') is null, to_regclass('u') is null") == [
        (False, True)
    ]
