"""What DDL does to tables, as it is seen on a scratch database."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from automigrate.database.url import DatabaseURL
from automigrate.workflow.findings import Level
from automigrate.workflow.policy import Policy, Size, judge, read_sizes
from automigrate.workflow.verify import RevisionSeen, rehearse, since
from tests.support.workflow import Workbench, benches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer
    from tests.support.servers import Database


@pytest.fixture
def bench(tmp_path: Path, server: EmbeddedServer) -> Iterator[Workbench]:
    """An empty project."""
    yield from benches(tmp_path, server)


BEFORE = """
create table people (id integer primary key, name varchar(20), age integer, boss_id integer,
  born timestamptz, mail text);
create index people_name on people (name);
create table teams (id integer primary key);
create type mood as enum ('sad', 'glad');
create table events (at date not null) partition by range (at);
create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
create table old_events (at date not null);
create materialized view adults as select id from people;
create unique index adults_id on adults (id);
"""


class Kind(NamedTuple):
    """A kind of DDL, and what it does."""

    sql: str
    locks: dict[str, str]
    rewritten: tuple[str, ...] = ()
    scanned: tuple[str, ...] = ()
    outside: bool = False
    before: str = ""


AEX, SUE, SRE = "ACCESS EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE"
CHECK = "alter table people add constraint adult check (age > 17) not valid"
PROOF = "alter table people add constraint named check (name is not null)"

KINDS: dict[str, Kind] = {
    "add a column": Kind("alter table people add column a integer", {"people": AEX}),
    "add a column with a constant default": Kind(
        "alter table people add column a integer not null default 7", {"people": AEX}
    ),
    "add a column with a volatile default": Kind(
        "alter table people add column a uuid default gen_random_uuid()",
        {"people": AEX},
        rewritten=("people",),
    ),
    "add a generated column": Kind(
        "alter table people add column a integer generated always as (age * 2) stored",
        {"people": AEX},
        rewritten=("people",),
    ),
    "add an identity column": Kind(
        "alter table people add column a integer generated always as identity",
        {"people": AEX},
        rewritten=("people",),
    ),
    "drop a column": Kind("alter table people drop column mail", {"people": AEX}),
    "rename a column": Kind("alter table people rename column mail to email", {"people": AEX}),
    "rename a table": Kind("alter table people rename to persons", {"people": AEX}),
    "lengthen a varchar": Kind(
        "alter table people alter column name type varchar(40)", {"people": AEX}
    ),
    "shorten a varchar": Kind(
        "alter table people alter column name type varchar(10)",
        {"people": AEX},
        rewritten=("people",),
    ),
    "integer to bigint": Kind(
        "alter table people alter column age type bigint",
        {"people": AEX},
        rewritten=("people",),
    ),
    "set a default": Kind("alter table people alter column age set default 3", {"people": AEX}),
    "set not null": Kind(
        "alter table people alter column name set not null",
        {"people": AEX},
        scanned=("people",),
    ),
    "set not null where a check proves it": Kind(
        "alter table people alter column name set not null", {"people": AEX}, before=PROOF
    ),
    "add a check": Kind(
        "alter table people add constraint adult check (age > 17)",
        {"people": AEX},
        scanned=("people",),
    ),
    "add a check not valid": Kind(CHECK, {"people": AEX}),
    "validate a check": Kind(
        "alter table people validate constraint adult",
        {"people": SUE},
        scanned=("people",),
        before=CHECK,
    ),
    "add a foreign key": Kind(
        "alter table people add foreign key (boss_id) references teams (id)",
        {"people": SRE, "teams": SRE},
        scanned=("people",),
    ),
    "add a foreign key not valid": Kind(
        "alter table people add foreign key (boss_id) references teams (id) not valid",
        {"people": SRE, "teams": SRE},
    ),
    "create an index": Kind(
        "create index on people (age)", {"people": "SHARE"}, scanned=("people",)
    ),
    "create an index concurrently": Kind(
        "create index concurrently on people (age)",
        {"people": SUE},
        scanned=("people",),
        outside=True,
    ),
    "drop an index": Kind("drop index people_name", {"people": AEX}),
    "drop an index concurrently": Kind(
        "drop index concurrently people_name", {"people": SUE}, outside=True
    ),
    "reindex a table": Kind("reindex table people", {"people": "SHARE"}, scanned=("people",)),
    "reindex a table concurrently": Kind(
        "reindex table concurrently people", {"people": SUE}, scanned=("people",), outside=True
    ),
    "add a unique constraint": Kind(
        "alter table people add unique (mail)", {"people": AEX}, scanned=("people",)
    ),
    "add a unique constraint using an index": Kind(
        "alter table people add constraint mails unique using index mails",
        {"people": AEX},
        before="create unique index mails on people (mail)",
    ),
    "create a trigger": Kind(
        "create trigger t before update on people for each row "
        "execute function suppress_redundant_updates_trigger()",
        {"people": SRE},
    ),
    "comment on a column": Kind("comment on column people.name is 'x'", {"people": SUE}),
    "change a storage parameter": Kind("alter table people set (fillfactor = 70)", {"people": SUE}),
    "make a table unlogged": Kind(
        "alter table people set unlogged",
        {"people": AEX},
        rewritten=("people",),
    ),
    "attach a partition": Kind(
        "alter table events attach partition old_events "
        "for values from ('2025-01-01') to ('2026-01-01')",
        {"events": SUE, "old_events": AEX},
        scanned=("old_events",),
    ),
    "drop a table": Kind("drop table teams", {"teams": AEX}),
    "truncate a table": Kind("truncate people", {"people": AEX}, rewritten=("people",)),
    "add a value to an enum": Kind("alter type mood add value 'calm'", {}),
    "update rows": Kind(
        "update people set age = 1", {"people": "ROW EXCLUSIVE"}, scanned=("people",)
    ),
    "refresh a materialized view": Kind(
        "refresh materialized view adults",
        {"adults": AEX, "people": "ACCESS SHARE"},
        rewritten=("adults",),
        scanned=("people",),
    ),
    "vacuum": Kind("vacuum people", {"people": SUE}, outside=True),
    "vacuum full": Kind(
        "vacuum full people",
        {"people": AEX},
        rewritten=("people",),
        outside=True,
    ),
}


def seen_of(bench: Workbench, sql: str, *, outside: bool = False, before: str = "") -> RevisionSeen:
    """Write the tables and a revision with one statement; return what is seen of it."""
    bench.add(f"op.execute({BEFORE + before!r})")
    run = f"op.execute({sql!r})"
    if outside:
        run = f"with op.get_context().autocommit_block(): {run}"
    head = bench.add(run)
    (seen,) = rehearse(bench.project, bench.rehearsal(), (head,))
    assert seen.failure is None
    return seen


def bare(names: tuple[str, ...]) -> tuple[str, ...]:
    """Leave the schema out."""
    return tuple(name.removeprefix("public.") for name in names)


@pytest.mark.parametrize("name", KINDS)
def test_locks_rewrites_and_scans_are_seen(bench: Workbench, name: str) -> None:
    """Each kind of DDL shows the locks that the manual promises, and what it does under them."""
    kind = KINDS[name]
    seen = seen_of(bench, kind.sql, outside=kind.outside, before=kind.before)
    (statement,) = seen.statements
    locks = {lock.table.removeprefix("public."): str(lock.mode) for lock in statement.locks}
    assert (locks, bare(statement.rewritten), bare(statement.scanned)) == (
        kind.locks,
        kind.rewritten,
        kind.scanned,
    )
    assert statement.in_transaction is not kind.outside


REWRITE = "alter table people alter column age type bigint"
LARGE = {"public.people": Size(rows=40_000_000, size=9 * 2**30)}


def test_a_rewrite_of_a_large_table_is_an_error(bench: Workbench) -> None:
    """The text names lock, table, size and the safe alternative."""
    (finding,) = judge([seen_of(bench, REWRITE)], LARGE)
    assert (finding.rule, finding.level) == ("table-rewrite", Level.ERROR)
    assert "rewrites people (40 million rows, 9 GB) under ACCESS EXCLUSIVE" in finding.message
    assert "blocks reads and writes" in finding.message
    assert "Add a column of the new type" in finding.remedy


def test_size_decides(bench: Workbench) -> None:
    """Small: nothing; not known: a warning; and where large begins is for the policy to say."""
    seen = [seen_of(bench, REWRITE)]
    small = {"public.people": Size(rows=10, size=8192)}
    assert judge(seen, small) == []
    assert [finding.level for finding in judge(seen)] == [Level.WARNING]
    assert [f.level for f in judge(seen, small, Policy(rows=5))] == [Level.ERROR]


@pytest.mark.parametrize(
    ("sql", "rule", "remedy"),
    [
        ("create index on people (age)", "scan-under-lock", "CONCURRENTLY"),
        ("alter table people alter name set not null", "scan-under-lock", "CHECK added NOT VALID"),
        (
            "alter table people add foreign key (boss_id) references teams (id)",
            "scan-under-lock",
            "NOT VALID",
        ),
        ("alter table people add unique (mail)", "scan-under-lock", "USING INDEX"),
        ("reindex table people", "index-rebuild", "REINDEX CONCURRENTLY"),
        ("update people set age = 1", "large-update", "batches"),
        ("alter table people drop column mail", "data-loss", "Release code"),
    ],
)
def test_each_refusal_names_the_safe_alternative(
    bench: Workbench, sql: str, rule: str, remedy: str
) -> None:
    """What blocks a large table, or loses data, says what to do instead."""
    found = {finding.rule: finding for finding in judge([seen_of(bench, sql)], LARGE)}
    assert remedy in found[rule].remedy


@pytest.mark.parametrize(
    "sql",
    [
        "create index concurrently on people (age)",
        "alter table people add column a integer not null default 7",
        "alter table people add foreign key (boss_id) references teams (id) not valid",
        "truncate people",
    ],
)
def test_the_safe_forms_raise_nothing(bench: Workbench, sql: str) -> None:
    """Not even on a large table."""
    assert judge([seen_of(bench, sql, outside="concurrently" in sql)], LARGE) == []


def test_a_lock_held_from_an_earlier_statement_counts(bench: Workbench) -> None:
    """A validation is harmless by itself, and not under a lock that the revision holds already."""
    bench.add(f"op.execute({BEFORE!r})")
    add = "alter table people add constraint adult check (age > 17) not valid"
    both = f"op.execute({add!r}); op.execute('alter table people validate constraint adult')"
    head = bench.add(both)
    seen = rehearse(bench.project, bench.rehearsal(), (head,))
    assert [finding.rule for finding in judge(seen, LARGE)] == ["scan-under-lock"]


def test_what_a_revision_creates_is_nobodys_yet(bench: Workbench) -> None:
    """Locks on new tables are not worth a word."""
    seen = seen_of(bench, "create table t (a integer); create index on t (a)")
    assert seen.statements[0].locks == ()
    assert judge([seen], LARGE) == []


def test_a_failing_revision_is_an_error(bench: Workbench) -> None:
    """It is seen as far as it came."""
    bench.add(f"op.execute({BEFORE!r})")
    head = bench.add("op.execute('alter table people drop column nothing')")
    seen = rehearse(bench.project, bench.rehearsal(), (head,))
    (finding,) = judge(seen)
    assert (finding.rule, finding.level) == ("fails", Level.ERROR)


def test_a_failing_statement_outside_of_a_transaction_leaves_nothing_hanging(
    bench: Workbench,
) -> None:
    """The session that made it wait lets go."""
    bench.add(f"op.execute({BEFORE!r})")
    head = bench.add("with op.get_context().autocommit_block(): op.execute('vacuum no_such_table')")
    (seen,) = rehearse(bench.project, bench.rehearsal(), (head,))
    assert seen.failure is not None
    bench.scratch.drop_all()


def test_sizes_come_from_the_real_database(database: Database) -> None:
    """Rows as the planner estimates, bytes with indexes."""
    database.execute("create table t as select generate_series(1, 5000) as a; analyze t")
    size = read_sizes(DatabaseURL.parse(database.url))["public.t"]
    assert size.rows == 5000
    assert str(size).startswith("5 thousand rows, ")


def test_since_counts_from_a_revision(bench: Workbench) -> None:
    """Everything that is not an ancestor of it is pending, oldest first."""
    first = bench.add("pass")
    second, third = bench.add("pass"), bench.add("pass")
    assert since(bench.project, [first]) == (second, third)
    assert since(bench.project, ["base"]) == (first, second, third)
