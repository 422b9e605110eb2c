"""What SQL destroys is read from its text; what is not understood is never taken for harmless."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from automigrate.recovery.destruction import Kind, destructions
from automigrate.recovery.statements import masked, parts, split

FOUND = {
    'drop table a, public.B cascade; drop table if exists "X y"': [
        "drops table a",
        "drops table public.b",
        "drops table X y",
    ],
    "alter table t drop column a, drop if exists b cascade, drop constraint c, add d int": [
        "drops column t.a",
        "drops column t.b",
    ],
    "alter table a rename to b; drop table b": ["drops table a"],
    "alter table s.t set schema z; alter table z.t drop x": ["drops column s.t.x"],
    "alter table t rename x to y; alter table t drop column y": ["drops column t.x"],
    "create table n (id int); insert into n values (1); drop table n": [],
    "alter table t add column old int; update t set old = new": [],
    "update t set a = b, c = (select 1 from x) where id > 5": ["overwrites rows of t where id > 5"],
    "update t set a = b.x from b where true": ["may destroy data"],
    "delete from a where x in (select 1 from b where y) returning id": [
        "deletes rows of a where x in (select 1 from b where y)"
    ],
    "delete from a using b where a.x = b.x": ["may destroy data"],
    "truncate a, b; truncate table c restart identity": [
        "empties table a",
        "empties table b",
        "empties table c",
    ],
    "truncate a cascade": ["may destroy data"],
    "drop schema s cascade": ["drops schema s"],
    "alter table t alter a type varchar(10)": [],
    "alter table t alter column a set data type int using a::int": [
        "changes the type of column t.a"
    ],
    "do $$ begin delete from x; end $$": ["may destroy data"],
    "select purge()": ["may destroy data"],
    "select setval('s', 1)": [],
    "with gone as (delete from t returning *) select * from gone": ["may destroy data"],
    "insert into t values (1) on conflict (id) do update set a = 1": ["may destroy data"],
    "drop type mood": [],
    "drop function f() cascade": ["may destroy data"],
    "alter type pair drop attribute a cascade": ["may destroy data"],
    "alter type mood rename value 'a' to 'b'": [],
    "set local search_path to x": ["may destroy data"],
    "select set_config('search_path', 'x', true)": ["may destroy data"],
    "select set_config('lock_timeout', '1', true); set local lock_timeout = 1": [],
    "drop materialized view if exists v cascade": ["drops materialized view v"],
    "drop sequence s.a, b": ["drops sequence s.a", "drops sequence b"],
    "create sequence s; drop sequence s": [],
    "drop view v": [],
    "alter schema a rename to b; drop table b.t; drop schema b": [
        "drops table a.t",
        "drops schema a",
    ],
    "alter table t set schema b; drop schema b": ["drops table t", "drops schema b"],
    "alter table t detach partition t_1": [],
    "drop type mood cascade": ["may destroy data"],
    "-- drop table a;\n/* drop /* nested */ table b; */ drop index i": [],
    "create function f() returns int language sql as $x$ delete from a; select 1; $x$": [],
    "comment on table t is 'drop table t; delete from t'": [],
    "create table c as select * from t; drop table if exists c": [],
}


@pytest.mark.parametrize(("script", "expected"), FOUND.items(), ids=list(FOUND))
def test_names_what_a_script_destroys(script: str, expected: list[str]) -> None:
    """Tables, columns and rows are named as they are called today."""
    (found,) = destructions([script])
    assert [described(item) for item in found] == expected


def described(item: object) -> str:
    """Say what is destroyed, without quotes."""
    kind, table, column, condition = (
        str(getattr(item, name)) for name in ("kind", "table", "column", "condition")
    )
    name = f"{table}.{column}" if column else table
    where = f" where {condition}" if condition else ""
    return f"{kind} {name}{where}".strip().replace('"', "")


def test_names_follow_from_script_to_script() -> None:
    """What an earlier script renames, a later one drops under its old name."""
    first, second = destructions(["alter table a rename to b", "drop table b"])
    assert first == ()
    assert [item.table for item in second] == ['"a"']


TEXT = st.text(alphabet="a1;'\"$-/*() \n", max_size=40)


@given(TEXT)
def test_masking_keeps_the_length(sql: str) -> None:
    """Positions in the masked text are positions in the text."""
    assert len(masked(sql)) == len(sql)


@given(st.lists(st.text(alphabet="ab;'\n-", max_size=8), max_size=4))
def test_statements_in_strings_are_not_split(values: list[str]) -> None:
    """A semicolon or a dash in a string ends nothing."""
    statements = ["select '" + value.replace("'", "''") + "'" for value in values]
    assert list(split(";".join(statements))) == statements


@given(TEXT)
def test_splitting_never_fails(sql: str) -> None:
    """Broken SQL is split somehow, and never loops."""
    assert all(statement.strip() == statement for statement in split(sql))
    assert list(parts(sql))


def test_every_statement_of_an_unknown_kind_may_destroy() -> None:
    """The list of the harmless is the exception."""
    (found,) = destructions(["frobnicate the table"])
    assert [item.kind for item in found] == [Kind.UNKNOWN]
