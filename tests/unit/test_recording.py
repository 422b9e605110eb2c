"""Which revisions may be recorded: those that nobody could tell apart from run ones."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from alembic.ddl.impl import DefaultImpl

from automigrate.alembic_bridge import harmless
from automigrate.alembic_bridge.bytecode import only_builds_sql
from automigrate.alembic_bridge.recording import NeedsAnswerError, Recorder, is_plain
from automigrate.scripts.text import ScriptText

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
import collections
import itertools
import os
import sqlalchemy as sa
from alembic import op
from sqlalchemy import inspect

NAMES = ("a", "b")
SEEN = []
ACTIONS = [os.remove]
COLUMN = sa.Column("x", sa.Integer())
METADATA = sa.MetaData()
NUMBERS = itertools.count()
QUEUE = collections.deque("ab")


def remember(value, seen=[]):
    seen += [value]
    return len(seen)


def add(table):
    op.add_column(table, sa.Column("x", sa.Integer()))


def ask():
    return op.get_bind().execute(sa.text("select 1")).scalar()


def upgrade():
"""


def plain(body: str, directory: Path, *, head: str = HEAD, tail: str = "") -> bool:
    """Tell whether a script with this body of `upgrade` is plain."""
    path = directory / "script.py"
    path.write_text(head + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + tail)
    module = ModuleType("script")
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    text = ScriptText(str(path))
    found = is_plain(module, text)
    told = only_builds_sql(module.upgrade, module, frozenset())
    if told is not None:  # the quick way knows nothing better
        assert told is (harmless.obstacle(module, text.functions, "upgrade") is None)
    return found


def told_by_code(body: str, directory: Path) -> bool | None:
    """Tell what is known without a syntax tree."""
    path = directory / "script.py"
    path.write_text(HEAD + textwrap.indent(body, "    "))
    module = ModuleType("script")
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    return only_builds_sql(module.upgrade, module, frozenset({"get_bind"}))


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        'op.execute("drop table t")',
        'op.create_table("t", sa.Column("id", sa.Integer(), primary_key=True))',
        'for name in NAMES:\n    op.drop_column("t", name)',
        'with op.batch_alter_table("t") as batch_op:\n    batch_op.drop_column("x")',
        'add("t")',
        'kind = sa.Enum("a", name="kind")\nop.add_column("t", sa.Column("k", kind))',
        'for name in SEEN:\n    op.drop_column("t", name)',
        'texts = []\ntexts.append("drop table t")\nop.execute(texts[0])',
        'text = "drop table "\ntext += "t"\nop.execute(text)',
        'text = ""\nfor name in SEEN:\n    text += f"drop table {name};"\nop.execute(text)',
        "texts = []\nfor name in SEEN:\n    texts.append(name)\nop.drop_table(texts[0])",
        'op.execute(sa.table("t", sa.column("x")).update().values(x=sa.func.now()))\nSEEN',
    ],
)
def test_what_only_says_what_to_do_is_plain(body: str, tmp_path: Path) -> None:
    """Operations, loops over constants and functions of the script made of them are plain."""
    assert plain(body, tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        'with op.batch_alter_table("t") as batch_op:\n    batch_op.drop_column("x")',
        'with op.batch_alter_table("t") as a, op.batch_alter_table("u") as b:\n    b.f("x")',
        'for name in NAMES:\n    if name != "a":\n        op.drop_column("t", name, schema=None)',
        'names = [*NAMES, "c"]\nop.create_primary_key("k", "t", [*names])',
        'op.create_table("t", *(sa.Column("x"), sa.Column("y")), **{"schema": "s"})',
        'op.create_table(*["t"], sa.Column("x"))',
        'op.execute(f"drop table {NAMES[0]!r}")',
    ],
)
def test_what_revisions_usually_do_needs_no_syntax_tree(body: str, tmp_path: Path) -> None:
    """The compiled code of every Python tells it."""
    assert told_by_code(body, tmp_path)


MANY = "".join(f"n{number} = op.f{number}\n" for number in range(200))


@pytest.mark.parametrize(
    "body",
    [
        'op.get_bind().execute(sa.text("select 1"))',
        'open("x", "w").close()',
        'for act in ACTIONS:\n    act("x")',
        f'{MANY}METADATA.create_all("x")',
    ],
    ids=["answer", "built-in", "list", "behind 200 names"],
)
def test_what_asks_the_database_needs_no_syntax_tree(body: str, tmp_path: Path) -> None:
    """Nor does what does more than build SQL."""
    assert told_by_code(body, tmp_path) is False


@pytest.mark.parametrize("body", ['add("t")', "os", 'SEEN.append("a")', "SEEN[0] = 1"])
def test_what_depends_on_more_is_left_to_the_syntax_tree(body: str, tmp_path: Path) -> None:
    """A function of the script, a module of which nothing may be used, what may be changed."""
    assert told_by_code(body, tmp_path) is None


@pytest.mark.parametrize(
    "body",
    [
        'op.get_bind().execute(sa.text("select 1"))',
        "ask()",
        'try:\n    op.execute("drop table t")\nexcept Exception:\n    pass',
        'with op.get_context().autocommit_block():\n    op.execute("vacuum")',
        "inspect(op.get_bind())",
        'os.remove("x")',
        'open("x", "w").close()',
        'op.get_context().impl._exec("select 1")',
        "op.run_async(lambda connection: None)",
        'import requests\nop.execute("drop table t")',
        "print(1)",
        'from sqlalchemy_utils import create_database\ncreate_database("postgresql:///x")',
        'import sqlalchemy_utils\nsqlalchemy_utils.drop_database("postgresql:///x")',
        'from alembic import command\ncommand.upgrade(None, "head")',
        "from alembic.config import Config\nConfig()",
        'SEEN.append("a")',
        'SEEN[0] = "a"',
        'seen = SEEN\nseen += ["a"]',
        "del SEEN[0]",
        'SEEN.__setitem__(0, "a")',
        "for seen in (SEEN,):\n    seen.sort()",
        "seen = []\nseen = SEEN\nseen.sort()",
        "rows = list(SEEN)\nrows[0].update(x=1)",
        "QUEUE.rotate(1)",
        'for number in NUMBERS:\n    op.execute(f"drop table t{number}")\n    break',
        'op.execute(f"drop table t{NUMBERS.__next__()}")',
        'for number, name in zip(NUMBERS, NAMES):\n    op.execute(f"drop table {name}{number}")',
        'op.execute(f"drop table t{remember(1)}")',
        'sa.Table("t", METADATA, sa.Column("x", sa.Integer()))',
        'op.add_column("t", COLUMN)',
        'for act in ACTIONS:\n    act("x")',
        "if op.get_context().as_sql:\n    pass",
    ],
)
def test_what_may_look_at_an_answer_or_do_more_is_not_plain(body: str, tmp_path: Path) -> None:
    """A connection, a caught error, an effect elsewhere: all are run in their turn."""
    assert not plain(body, tmp_path)


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (HEAD.replace("def upgrade", "@wrapped\ndef upgrade"), ""),
        (HEAD.replace("def add", "@wrapped\ndef add"), ""),
        (HEAD, "\n\nupgrade = wrapped(upgrade)\n"),
        (HEAD, "\n\ndef other():\n    print(1)\n\nupgrade = other\n"),
        (HEAD, "\n\nclass Upgrade:\n    __call__ = staticmethod(upgrade)\n\nupgrade = Upgrade()"),
    ],
    ids=["decorated", "helper", "replaced", "another", "object"],
)
def test_what_is_wrapped_around_a_function_may_do_more(
    head: str, tail: str, tmp_path: Path
) -> None:
    """A decorator that runs a revision for each tenant asks the database which there are."""
    wrapped = "def wrapped(function):\n    return lambda: (SEEN.append(1), function())\n\n\n"
    assert not plain('add("t")', tmp_path, head=head.replace("NAMES", wrapped + "NAMES"), tail=tail)
    assert plain('add("t")', tmp_path)


class Connection:
    """Stands for the connection of a run, of which only the identity counts here."""


class Cursor:
    """A cursor on it."""

    def __init__(self, connection: object) -> None:
        self.connection = connection


@pytest.mark.parametrize(
    "statement",
    [
        "create table t ()",
        "\n  -- why\n  /* and how */ ALTER TABLE t ADD x int",
        "insert into t values (1); insert into t values (2)",
        "update t set x = 1",
        "comment on table t is 'to begin; with'",
        "drop index i",
    ],
)
def test_statements_without_an_answer_are_taken(statement: str) -> None:
    """They are kept as they are."""
    connection = Connection()
    recorder = Recorder(connection)  # type: ignore[arg-type]
    recorder.take(Cursor(connection), statement, ())
    assert recorder.statements == [statement]


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("select setval('s', 1)", ()),
        ("with x as (select 1) select * from x", ()),
        ("insert into t values (%s)", (1,)),
        ("commit", ()),
        ("create table t (); commit; create table u ()", ()),
        ("create table t (); /* and /* then */ */ commit", ()),
        ("create table t ();-- and\n\tcommit", ()),
        ("create table t (); deallocate all", ()),
        ("create index concurrently i on t (x)", ()),
        ("drop index concurrently i", ()),
        ("alter type kind add value 'c'", ()),
        ("vacuum t", ()),
        ("copy t from stdin", ()),
        ("do $$ begin perform 1; end $$", ()),
        ("reset all", ()),
        ("set search_path to other", ()),
        ("", ()),
    ],
)
def test_other_statements_end_the_recording(statement: str, parameters: tuple[object, ...]) -> None:
    """Rows, parameters, transaction control and what runs alone need the database in their turn."""
    connection = Connection()
    recorder = Recorder(connection)  # type: ignore[arg-type]
    with pytest.raises(NeedsAnswerError):
        recorder.take(Cursor(connection), statement, parameters)


def test_a_second_connection_ends_the_recording() -> None:
    """Only the session that holds the lock is recorded."""
    recorder = Recorder(Connection())  # type: ignore[arg-type]
    with pytest.raises(NeedsAnswerError):
        recorder.take(Cursor(Connection()), "create table t ()", ())


def test_who_takes_the_end_of_the_recording_for_an_answer_is_run_in_turn() -> None:
    """An operation of a plugin may catch whatever its question to the database raises."""
    connection = Connection()
    recorder = Recorder(connection)  # type: ignore[arg-type]

    def upgrade() -> None:
        with suppress(Exception):
            recorder.take(Cursor(connection), "select 1", ())
        recorder.take(Cursor(connection), "create table t ()", ())

    assert recorder.record(upgrade, {}, DefaultImpl.__new__(DefaultImpl)) is None


def test_an_error_of_the_script_is_left_for_its_turn() -> None:
    """Whatever a script raises while it is recorded, it raises again when it is run."""

    def upgrade() -> None:
        msg = "not here"
        raise RuntimeError(msg)

    impl = DefaultImpl.__new__(DefaultImpl)
    assert Recorder(Connection()).record(upgrade, {}, impl) is None  # type: ignore[arg-type]
    assert "_exec" not in vars(impl)
