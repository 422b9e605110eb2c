"""What DDL does to tables, as it is seen on a scratch database."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from automigrate.workflow.verify import RevisionSeen, rehearse
from tests.support.workflow import Workbench, benches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer


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
    "change a storage parameter": Kind(
        "alter table people set (fillfactor = 70)", {"people": SUE}
    ),
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
