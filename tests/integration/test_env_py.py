"""What env.py files do beyond the stock template, and what automigrate makes of it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
import textwrap
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

import automigrate
from automigrate.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    RecoveryError,
    ScriptError,
    ScriptImportError,
    UpgradeError,
)
from automigrate.recovery.repair import Resolution
from automigrate.verdict import Outcome, Verdict
from tests.support.projects import Project, sqlalchemy_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from tests.support.servers import Database

CONNECT = """
from alembic import context
from sqlalchemy import create_engine, pool, text

url = context.config.get_main_option("sqlalchemy.url")
engine = create_engine(url, poolclass=pool.NullPool)
"""
RUN = f"""
{CONNECT}
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
TENANTS = f"""
{CONNECT}
tenants = context.get_x_argument(as_dictionary=True)["tenants"].split("+")
for tenant in tenants:
    with engine.connect() as connection:
        connection.execute(text(f"create schema if not exists {{tenant}}"))
        connection.execute(text(f"set search_path to {{tenant}}"))
        connection.commit()
        context.configure(connection=connection, version_table_schema=tenant)
        try:
            with context.begin_transaction():
                context.run_migrations()
        except Exception:
            if "continue=true" not in context.get_x_argument():
                raise
"""
CONCURRENTLY = """
with op.get_context().autocommit_block():
    op.execute("create index concurrently ix on t_r0001 (id)")
"""


def applied(report: automigrate.UpgradeReport) -> list[str]:
    """Return what a run applied."""
    return [item.revision for item in report.applied]


def one_of(tmp_path: Path, env: str, revisions: int = 2) -> Project:
    """Write a project with this env.py."""
    project = Project(tmp_path, env=env)
    project.extend(revisions)
    return project


# Which database


def test_multidb_upgrades_the_database_that_was_given(
    databases: Callable[[], Database], tmp_path: Path
) -> None:
    """With the multidb template each call takes care of one database and leaves the other."""
    first, second, plain_first, plain_second = (databases() for _ in range(4))
    project = Project(tmp_path, env="multidb")
    project.add("r1", upgrade="op.execute(f'create table t_{engine_name} (id integer)')")
    project.set_url(plain_first.url, plain_second.url)
    project.alembic("upgrade", "head")
    project.set_url(first.url, second.url)

    assert applied(automigrate.upgrade(second.url, project.scripts)) == ["r1"]
    assert first.rows("select 1 from pg_tables where tablename = 'alembic_version'") == []
    assert applied(automigrate.upgrade(first.url, project.scripts)) == ["r1"]
    assert applied(automigrate.upgrade(first.url, project.scripts)) == []
    assert first.dump_schema() == plain_first.dump_schema()
    assert second.dump_schema() == plain_second.dump_schema()


def test_another_database_is_refused(databases: Callable[[], Database], tmp_path: Path) -> None:
    """Where env.py connects elsewhere, nothing is applied and the error names that database."""
    ours, theirs = databases(), databases()
    project = one_of(
        tmp_path,
        CONNECT.replace(
            'context.config.get_main_option("sqlalchemy.url")', repr(sqlalchemy_url(theirs.url))
        )
        + """
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
""",
    )
    with pytest.raises(ConfigurationError, match=f"connects to the database '{theirs.name}'"):
        automigrate.upgrade(ours.url, project.scripts)
    for database in (ours, theirs):
        assert database.rows("select 1 from pg_tables where tablename like 't_%'") == []


@pytest.mark.parametrize("arguments", ["", ", version_table=str('v')"])
def test_another_kind_of_database_is_refused(
    database: Database, tmp_path: Path, arguments: str
) -> None:
    """An env.py that connects to SQLite is refused, also where only it knows the version table."""
    project = one_of(
        tmp_path,
        f"""
        from alembic import context
        from sqlalchemy import create_engine, pool

        with create_engine("sqlite://", poolclass=pool.NullPool).connect() as connection:
            context.configure(connection=connection{arguments})
            context.run_migrations()
        """,
    )
    with pytest.raises(ConfigurationError, match="env.py connects to sqlite"):
        automigrate.upgrade(database.url, project.scripts)


def test_a_connection_that_fails_is_told(database: Database, tmp_path: Path) -> None:
    """Where env.py cannot connect on its own, the error says that it is env.py's connection."""
    project = one_of(
        tmp_path,
        """
        from sqlalchemy import create_engine

        create_engine("postgresql+psycopg://nobody:secret@/no_such_database?host=/tmp").connect()
        """,
    )
    with pytest.raises(DatabaseUnavailableError, match="env.py opens itself") as caught:
        automigrate.upgrade(database.url, project.scripts, timeout=1.0)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("1 / 0", ScriptImportError, "ZeroDivisionError: division by zero"),
        ("import no_such_package", ScriptImportError, "No module named 'no_such_package'"),
        ("x = 1", ConfigurationError, r"without calling context.run_migrations\(\)"),
        (
            CONNECT + "with engine.connect() as it: it.execute(text('select * from missing'))",
            ScriptImportError,
            'relation "missing" does not exist',
        ),
    ],
)
def test_a_broken_env_py_is_named(
    database: Database, tmp_path: Path, source: str, error: type[Exception], text: str
) -> None:
    """What env.py does wrong is told with its file, or with what it fails to do."""
    project = one_of(tmp_path, source)
    with pytest.raises(error, match=text):
        automigrate.upgrade(database.url, project.scripts)


# Version tables


def test_env_py_may_end_the_program_when_it_is_done(database: Database, tmp_path: Path) -> None:
    """`sys.exit()` after the migrations is an end like any other; an error code is an error."""
    project = one_of(tmp_path, f"{RUN}\nraise SystemExit(0)", revisions=1)
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001"]
    project.extend(1)
    env = project.scripts / "env.py"
    env.write_text(env.read_text().replace("Exit(0)", "Exit('not again')"))
    with pytest.raises(ScriptError, match="failed behind the revisions: SystemExit: not again"):
        automigrate.upgrade(database.url, project.scripts)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_error_of_env_py_behind_the_revisions_is_told(
    database: Database, tmp_path: Path, driver: str
) -> None:
    """What env.py executes last may fail like anything else, whatever the driver of its own."""
    env = RUN.replace("create_engine(url", f"create_engine(url.replace('+psycopg', '+{driver}')")
    grant = 'connection.execute(text("grant select on t_r0001 to nobody_of_this_name"))'
    project = one_of(tmp_path, f"{env}    {grant}\n")
    with pytest.raises(ScriptError, match=r"behind the revisions: Undef.*nobody_of.*by hand"):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select version_num from alembic_version") == [("r0002",)]


def test_env_py_that_migrates_is_told_at_once(database: Database, tmp_path: Path) -> None:
    """An env.py whose models come with the application's own startup does not wait for itself."""
    startup = f"automigrate.upgrade({database.url!r}, {str(tmp_path / 'migrations')!r})"
    project = one_of(tmp_path, f"import automigrate\n{startup}\n{RUN}")
    started = time.monotonic()
    with pytest.raises(ScriptError, match="would wait for itself"):
        automigrate.upgrade(database.url, project.scripts, timeout=60.0)
    assert time.monotonic() - started < 30.0
    assert not database.rows("select 1 from pg_tables where tablename = 't_r0001'")


def test_options_that_contradict_env_py_say_what_to_set(database: Database, tmp_path: Path) -> None:
    """An option that names another version table than env.py is refused with both names."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
with engine.connect() as connection:
    context.configure(connection=connection, version_table="theirs")
    context.run_migrations()
""",
    )
    with pytest.raises(ConfigurationError, match="version_table='theirs', the option says 'ours'"):
        automigrate.upgrade(database.url, project.scripts, version_table="ours")


def test_a_version_table_that_only_a_helper_knows_is_found(
    database: Database, tmp_path: Path
) -> None:
    """A database with tables is not taken for unmanaged where env.py's text hides its table."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
options = dict(map(lambda pair: pair.split("="), ["version_" + "table=hidden"]))
with engine.connect() as connection:
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()
""",
    )
    project.alembic("upgrade", "r0001", url=database.url)
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0002"]
    assert applied(automigrate.upgrade(database.url, project.scripts)) == []
    assert automigrate.Migrator(database.url, project.scripts).status().verdict is Verdict.CURRENT


def test_a_schema_that_nobody_creates_is_told(database: Database, tmp_path: Path) -> None:
    """A version table in a missing schema is refused with the name of the schema."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
with engine.connect() as connection:
    context.configure(connection=connection, version_table_schema="nowhere")
    context.run_migrations()
""",
    )
    with pytest.raises(ConfigurationError, match="schema 'nowhere' .* does not exist"):
        automigrate.upgrade(database.url, project.scripts)


# Tenants


def test_each_tenant_gets_what_it_lacks(database: Database, tmp_path: Path) -> None:
    """In a loop over tenants, a new tenant gets all and the others what is new to them."""
    project = one_of(tmp_path, TENANTS, 2)
    migrator = automigrate.Migrator(database.url, project.scripts, x_arguments=["tenants=one+two"])
    assert applied(migrator.upgrade()) == ["r0001", "r0002"] * 2
    assert applied(migrator.upgrade()) == []
    assert migrator.check().verdict is Verdict.CURRENT
    project.extend(1)
    more = automigrate.Migrator(
        database.url, project.scripts, x_arguments=["tenants=one+two+three"]
    )
    assert more.status().verdict is not Verdict.CURRENT
    assert applied(more.upgrade()) == ["r0003", "r0003", "r0001", "r0002", "r0003"]
    assert database.rows(
        "select schemaname from pg_tables where tablename = 't_r0003' order by 1"
    ) == [("one",), ("three",), ("two",)]
    for tenant in ("one", "two", "three"):
        assert database.rows(f"select version_num from {tenant}.alembic_version") == [("r0003",)]
        assert database.rows(f"select count(*) from {tenant}.automigrate_journal")[0][0] >= 2


def test_an_interrupted_tenant_is_repaired_among_others(database: Database, tmp_path: Path) -> None:
    """Where the revision was interrupted it is settled, and the other tenants stay as they are."""
    project = one_of(tmp_path, TENANTS, 1)
    arguments = ["tenants=one+two", "continue=true"]
    migrator = automigrate.Migrator(database.url, project.scripts, x_arguments=arguments)
    migrator.upgrade()
    database.execute("create table one.stops as select 0 as by; create table two.stops (by int)")
    project.add(
        "r0002",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create table half (id integer)")
                op.execute("select 1 / by from stops")
        """,
    )
    with pytest.raises(UpgradeError):
        migrator.upgrade()
    rows = "select state from {}.automigrate_journal where revision = 'r0002'"
    assert database.rows(rows.format("one")) == [("failed",)]
    assert database.rows(rows.format("two")) == [("applied",)]
    migrator.repair("r0002", resolution=Resolution.APPLIED)
    assert database.rows(rows.format("one")) == [("applied",)]
    assert migrator.status().verdict is Verdict.CURRENT
    with pytest.raises(RecoveryError, match="r0002 was not interrupted"):
        migrator.repair("r0002", resolution=Resolution.APPLIED)


def test_a_tenant_that_fails_does_not_stop_those_that_env_py_goes_on_with(
    database: Database, tmp_path: Path
) -> None:
    """The others are upgraded where env.py goes on; the failure is told in the end."""
    project = one_of(tmp_path, TENANTS, 1)
    automigrate.upgrade(database.url, project.scripts, x_arguments=["tenants=one+two+three"])
    database.execute("create table two.t_r0002 (id integer)")
    project.extend(1)
    arguments = ["tenants=one+two+three", "continue=true"]
    with pytest.raises(UpgradeError, match="r0002 failed: DuplicateTable"):
        automigrate.upgrade(database.url, project.scripts, x_arguments=arguments)
    assert [
        database.rows(f"select version_num from {tenant}.alembic_version")[0][0]
        for tenant in ("one", "two", "three")
    ] == ["r0002", "r0001", "r0002"]


def test_tenants_raced_for_are_migrated_once(database: Database, tmp_path: Path) -> None:
    """Processes that start at once on an empty database apply each revision once per tenant."""
    project = one_of(tmp_path, TENANTS, 3)
    script = textwrap.dedent(f"""
        import automigrate
        report = automigrate.upgrade(
            {database.url!r}, {str(project.scripts)!r}, x_arguments=["tenants=a+b+c"], timeout=60.0
        )
        print(len(report.applied))
    """)
    processes = [start(script) for _ in range(4)]
    outcomes = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outcomes
    assert sum(int(out) for out, _ in outcomes) == 9


LISTED = f"""
{CONNECT}
with engine.connect() as connection:
    schemas = connection.scalars(text(
        "select nspname from pg_namespace where nspname like 'tenant%' order by 1"
    )).all()
for schema in schemas:
    with engine.connect() as connection:
        connection.execute(text(f"set search_path to {{schema}}"))
        context.configure(connection=connection, version_table_schema=schema)
        with context.begin_transaction():
            context.run_migrations()
"""


def test_no_tenant_yet_is_nothing_to_do(database: Database, tmp_path: Path) -> None:
    """An application without tenants starts; the first one that is there at a start gets all."""
    project = one_of(tmp_path, LISTED, 2)
    migrator = automigrate.Migrator(database.url, project.scripts)
    report = migrator.upgrade()
    assert (report.outcome, report.heads, report.applied) == (Outcome.UNCHANGED, (), ())
    status = migrator.check()
    assert (status.verdict, status.current) == (Verdict.CURRENT, ())
    assert "none of them yet" in status.detail
    assert migrator.wait().heads == ()
    with pytest.raises(ConfigurationError, match="none of them yet"):
        migrator.downgrade("base")
    database.execute("create schema tenant_a")
    assert migrator.status().verdict is Verdict.EMPTY
    assert applied(migrator.upgrade()) == ["r0001", "r0002"]


def test_tenants_are_read_from_a_table_that_the_first_history_makes(
    database: Database, tmp_path: Path
) -> None:
    """env.py is asked again for what it could not know before; what it lacks is pending."""
    env = RUN + textwrap.dedent("""
        with engine.connect() as connection:
            tenants = connection.scalars(text("select name from public.tenant")).all()
        for tenant in tenants:
            with engine.connect() as connection:
                connection.execute(text(f"create schema if not exists {tenant}"))
                connection.execute(text(f"set search_path to {tenant}"))
                connection.commit()
                context.configure(connection=connection, version_table_schema=tenant)
                with context.begin_transaction():
                    context.run_migrations()
    """)
    project = Project(tmp_path, env=env)
    project.add(
        "r1",
        upgrade="""
            op.execute("create table if not exists public.tenant as select 'acme' as name")
            op.execute("create table orders (id integer)")
        """,
    )
    migrator = automigrate.Migrator(database.url, project.scripts)
    assert migrator.status().verdict is Verdict.EMPTY
    assert applied(migrator.upgrade()) == ["r1", "r1"]
    assert migrator.check().verdict is Verdict.CURRENT
    assert applied(migrator.upgrade()) == []
    assert database.rows(
        "select schemaname from pg_tables where tablename = 'orders' order by 1"
    ) == [("acme",), ("public",)]
    database.execute("alter table public.tenant rename to customer")
    with pytest.raises(ScriptImportError, match=r'"public.tenant" does not exist'):
        migrator.upgrade()


def test_a_new_tenant_is_seen_behind_a_helper(database: Database, tmp_path: Path) -> None:
    """A loop whose text names no schema is not taken for one version table, which is current."""
    (tmp_path / "tenant_engines.py").write_text(
        textwrap.dedent("""
            from sqlalchemy import create_engine, pool, text

            def engines(url):
                with create_engine(url, poolclass=pool.NullPool).connect() as connection:
                    tenants = connection.scalars(text("select name from shared.tenant")).all()
                for schema in ("public", *tenants):
                    options = {"options": f"-csearch_path={schema}"}
                    yield create_engine(url, connect_args=options, poolclass=pool.NullPool)
        """)
    )
    project = one_of(
        tmp_path,
        """
import pathlib
import sys

from alembic import context

sys.path.append(str(pathlib.Path(__file__).parent.parent))

from tenant_engines import engines

for engine in engines(context.config.get_main_option("sqlalchemy.url")):
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
""",
        1,
    )
    database.execute("create schema shared; create table shared.tenant (name text)")
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001"]
    database.execute("create schema acme; insert into shared.tenant values ('acme')")
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001"]
    assert applied(automigrate.upgrade(database.url, project.scripts)) == []


# Locks of env.py's own


def test_a_lock_of_env_py_does_not_hang_a_concurrent_index(
    database: Database, tmp_path: Path
) -> None:
    """Three processes, each with an env.py that takes pg_advisory_lock: one applies, all end."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
with engine.connect() as connection:
    connection.execute(text("set statement_timeout = 5000"))
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        connection.execute(text("select pg_advisory_lock(hashtext(:name))"), {"name": "alembic"})
        context.run_migrations()
        context.get_bind().commit()
        connection.execute(text("select pg_advisory_unlock(hashtext('alembic'))"))
""",
        1,
    )
    project.add("r0002", upgrade=CONCURRENTLY)
    script = textwrap.dedent(f"""
        import automigrate
        print(len(automigrate.upgrade({database.url!r}, {str(project.scripts)!r}).applied))
    """)
    processes = [start(script) for _ in range(3)]
    outcomes = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outcomes
    assert sorted(int(out) for out, _ in outcomes) == [0, 0, 2]


def test_a_lock_of_env_py_is_waited_for_by_trying(database: Database, tmp_path: Path) -> None:
    """Env.py's lock held by plain Alembic: no session of ours waits in pg_advisory_lock (H2)."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
with engine.connect() as connection:
    context.configure(connection=connection)
    connection.execute(text("select pg_advisory_xact_lock(4711)"))
    with context.begin_transaction():
        context.run_migrations()
""",
    )
    with database.connect() as other:
        other.execute("select pg_advisory_lock(4711)")
        with pytest.raises(automigrate.AutomigrateError) as caught:
            automigrate.upgrade(database.url, project.scripts, timeout=1.0)
    assert caught.value.exit_code == 5
    assert not [s for s in database.statements() if "pg_advisory_xact_lock(4711)" in s.text]
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]


def test_statements_before_configuring_do_not_break_autocommit_blocks(
    database: Database, tmp_path: Path
) -> None:
    """What makes plain Alembic fail with a bare AssertionError works here (H23)."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
with engine.connect() as connection:
    connection.execute(text("select 1"))
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
""",
        1,
    )
    project.add("r0002", upgrade=CONCURRENTLY)
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]


def test_env_py_that_reads_its_own_tables_does_not_block_the_revisions(
    database: Database, tmp_path: Path
) -> None:
    """A lock on a table that env.py's open transaction holds is given back before revisions run."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
with engine.connect() as connection:
    connection.execute(text("select * from settings"))
    context.configure(connection=connection)
    connection.execute(text("select * from settings"))
    with context.begin_transaction():
        context.run_migrations()
""",
        1,
    )
    project.add("r0002", upgrade='op.execute("alter table settings add column a integer")')
    database.execute(
        "create table settings (id integer); create table alembic_version (version_num text);"
        "insert into alembic_version values ('r0001')"
    )
    assert applied(automigrate.upgrade(database.url, project.scripts, timeout=5.0)) == ["r0002"]


# A guest in the process


ASYNC_ENGINE = """
import asyncio
from alembic import context
from sqlalchemy import engine_from_config, pool
from sqlalchemy.ext.asyncio import AsyncEngine

settings = context.config.get_section(context.config.config_ini_section)
if "sqlalchemy.url" not in settings:
    raise RuntimeError("the application's own settings are missing")
engine = AsyncEngine(engine_from_config(settings, prefix="sqlalchemy.", poolclass=pool.NullPool))

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()

asyncio.run(main())
"""


def test_an_asynchronous_engine_gets_an_asynchronous_driver(
    database: Database, tmp_path: Path
) -> None:
    """Where the project's files name no URL, ours has the kind of driver that env.py needs."""
    project = one_of(tmp_path, ASYNC_ENGINE)
    project.add("r0003", upgrade="op.run_async(ask)", extra_module_code=ASKING)
    text = project.ini.read_text()
    project.ini.write_text(re.sub(r"(?m)^sqlalchemy.url.*$", "", text))
    report = automigrate.upgrade(database.url, project.scripts)
    assert applied(report) == ["r0001", "r0002", "r0003"]


ASKING = """
async def ask(connection):
    rows = await connection.execute(sa.text("select 1 from t_r0002 union all select 1"))
    assert rows.all() == [(1,)]
"""
NESTED = """
import nest_asyncio
nest_asyncio.apply()
async def outer():
    asyncio.get_event_loop().run_until_complete(main())
asyncio.run(outer())
"""
ASYNC = """
import asyncio
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    engine = create_async_engine(context.config.get_main_option("sqlalchemy.url"))
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()
"""


def test_an_async_env_py_runs_inside_of_a_running_loop(database: Database, tmp_path: Path) -> None:
    """Env.py's asyncio.run works under the application's event loop, which stays the current."""
    project = one_of(tmp_path, ASYNC + "asyncio.run(main())")

    async def startup() -> list[str]:
        loop = asyncio.get_running_loop()
        awaited = await automigrate.upgrade_async(database.url, project.scripts, target="r0001")
        blocking = automigrate.upgrade(database.url, project.scripts)
        assert asyncio.get_running_loop() is loop
        return applied(awaited) + applied(blocking)

    assert asyncio.run(startup()) == ["r0001", "r0002"]


def test_a_loop_that_was_set_stays_set(database: Database, tmp_path: Path) -> None:
    """The event loop of the calling thread is the same afterwards, though env.py sets its own."""
    project = one_of(tmp_path, ASYNC + "asyncio.run(main())")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        automigrate.upgrade(database.url, project.scripts)
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.mark.parametrize(
    "run",
    [
        "asyncio.get_event_loop().run_until_complete(main())",
        "import nest_asyncio\nnest_asyncio.apply()\nasyncio.run(main())",
        NESTED,
    ],
    ids=["get_event_loop", "nest_asyncio", "nested"],
)
def test_env_py_finds_an_event_loop_as_in_the_main_thread(
    database: Database, tmp_path: Path, run: str
) -> None:
    """Loops work as under Alembic's command line; what env.py patches in asyncio is taken back."""
    project = one_of(tmp_path, ASYNC + run)

    def functions() -> list[Any]:
        loop = asyncio.SelectorEventLoop
        names = [asyncio.run, asyncio.get_event_loop, asyncio.Task, asyncio.Future]
        return [*names, loop.run_until_complete, loop.run_forever, hasattr(loop, "_nest_patched")]

    async def startup() -> list[str]:
        ticks = asyncio.create_task(asyncio.sleep(0.01))
        report = await automigrate.upgrade_async(database.url, project.scripts)
        await ticks
        return applied(report)

    before = functions()
    assert asyncio.run(startup()) == ["r0001", "r0002"]
    assert functions() == before
    assert not hasattr(asyncio, "_nest_patched")
    assert asyncio.run(startup()) == []


def test_env_py_finds_the_way_back_from_a_worker_thread(database: Database, tmp_path: Path) -> None:
    """Env.py may call back into anyio's loop from the worker thread that runs it (Prefect)."""
    project = one_of(tmp_path, ASYNC + "import anyio.from_thread\nanyio.from_thread.run(main)")

    async def startup() -> list[str]:
        return applied(
            await anyio.to_thread.run_sync(automigrate.upgrade, database.url, project.scripts)
        )

    assert anyio.run(startup) == ["r0001", "r0002"]


def test_a_thread_that_never_counts_as_ended_is_not_waited_for(
    database: Database, tmp_path: Path
) -> None:
    """An env.py whose imports patch `threading`, as eventlet does, does not hang the run."""
    patched = """
import threading

threading.current_thread().is_alive = lambda: True
threading.current_thread().join = lambda timeout=None: None
"""
    project = one_of(tmp_path, patched + RUN, 1)
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001"]


def test_the_process_is_as_before(database: Database, tmp_path: Path) -> None:
    """Logging, environment, import path and directory are untouched by env.py and revisions."""
    project = one_of(
        tmp_path,
        """
        import logging, os, sys, warnings
        from logging.config import fileConfig
        from alembic import context
        from sqlalchemy import create_engine, pool

        fileConfig(context.config.config_file_name)
        logging.basicConfig(level=logging.DEBUG, force=True)
        logging.getLogger("shop").setLevel(logging.ERROR)
        os.environ["FROM_ENV_PY"] = "1"
        os.environ.pop("SHOP_SETTING")
        sys.path.insert(0, "/from/env.py")
        os.chdir("/")
        warnings.simplefilter("ignore")
        url = context.config.get_main_option("sqlalchemy.url")
        engine = create_engine(url, poolclass=pool.NullPool)
        with engine.connect() as connection:
            context.configure(connection=connection)
            context.run_migrations()
        """,
    )
    shop = logging.getLogger("shop")

    def process() -> list[Any]:
        return [
            logging.root.level,
            list(logging.root.handlers),
            shop.level,
            shop.disabled,
            dict(os.environ),
            list(sys.path),
            Path.cwd(),
        ]

    os.environ["SHOP_SETTING"] = "x"
    try:
        before = process()
        automigrate.upgrade(database.url, project.scripts)
        assert process() == before
    finally:
        del os.environ["SHOP_SETTING"]


def test_prepend_sys_path_holds_while_env_py_runs(database: Database, tmp_path: Path) -> None:
    """Modules beside alembic.ini can be imported, as the configuration says, and only then."""
    (tmp_path / "shop_models_for_this_test.py").write_text("TABLE = 't'")
    project = Project(tmp_path, env="generic")
    ini = project.ini.read_text()
    assert "prepend_sys_path = ." in ini
    project.ini.write_text(ini.replace("prepend_sys_path = .", "prepend_sys_path = %(here)s"))
    project.add("r1", imports="from shop_models_for_this_test import TABLE", upgrade="assert TABLE")
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r1"]
    assert str(tmp_path) not in sys.path


HANDED_OVER = {
    "attribute": """
        engine = context.config.attributes.get("connection", None).engine
        with engine.connect() as connection:
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
    """,
    "refusal": """
        connection = context.config.attributes.get("connection")
        if connection is None:
            raise Exception("No connection set in alembic config. STOP and read the README.")
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
            connection.exec_driver_sql("comment on table t_r0001 is 'kept'")
    """,
    "another function": """
        def run(set_up):
            connection = context.config.attributes["connection"]
            set_up(connection=connection)
            with context.begin_transaction():
                context.run_migrations()

        run(getattr(context, "configure"))
    """,
}


@pytest.mark.parametrize("way", HANDED_OVER)
def test_a_connection_that_a_program_would_hand_over(
    database: Database, tmp_path: Path, way: str
) -> None:
    """An env.py that cannot do without `config.attributes["connection"]` gets ours.

    As MLflow's and Dagster's, whose helper refuses to go on without.
    """
    env = "from alembic import context\n" + textwrap.dedent(HANDED_OVER[way])
    project = one_of(tmp_path, env)
    migrator = automigrate.Migrator(database.url, project.scripts)
    assert applied(migrator.upgrade()) == ["r0001", "r0002"]
    assert migrator.check().verdict is Verdict.CURRENT
    assert applied(migrator.upgrade()) == []
    if way == "refusal":
        assert database.rows("select obj_description('t_r0001'::regclass)") == [("kept",)]


PREPARED = """
import asyncio
from alembic import context
from sqlalchemy import text

config = context.config
connection = config.attributes["connection"]
assert config.get_section("tool")["kind"] == "100%"
assert context.get_x_argument() == ["x=1"]
assert config.attributes["profile"].name == "acme"
context.configure(connection=connection, version_table=config.get_main_option("versions_in"))
with context.begin_transaction():
    context.run_migrations()
"""


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_config_that_a_program_has_prepared(database: Database, tmp_path: Path, way: str) -> None:
    """Its options, attributes, connection and arguments reach env.py, and no file is needed.

    As AiiDA's, SkyPilot's and dozens of others that call `alembic.command.upgrade(config, …)`.
    """
    project = one_of(tmp_path, PREPARED)
    config = Config(attributes={"profile": Namespace(name="acme")})
    config.cmd_opts = Namespace(x=["x=1"])
    config.set_main_option("script_location", str(project.scripts))
    config.set_main_option("versions_in", "acme_version")
    config.set_section_option("tool", "kind", "100%%")
    url = sqlalchemy_url(database.url)
    before = dict(config.attributes), dict(config.get_section("alembic") or {})

    def upgrade(connection: Connection) -> list[str]:
        config.attributes["connection"] = connection
        connection.execute(text("set application_name = 'a program'"))
        return applied(automigrate.upgrade(database.url, config=config))

    async def in_a_loop() -> list[list[str]]:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            results = [await connection.run_sync(upgrade) for _ in range(2)]
        await engine.dispose()
        return results

    if way == "async":
        results = asyncio.run(in_a_loop())
    else:
        engine = create_engine(url)
        with engine.begin() as connection:
            results = [upgrade(connection) for _ in range(2)]
        engine.dispose()
    assert results == [["r0001", "r0002"], []]
    assert database.rows("select version_num from acme_version") == [("r0002",)]
    config.attributes.pop("connection")
    assert (dict(config.attributes), dict(config.get_section("alembic") or {})) == before
    with pytest.raises(ConfigurationError, match="config_ini_section='alembic'"):
        automigrate.Migrator(database.url, config=config, ini_section="other")


REFUSING = f"""
{CONNECT}
from contextlib import nullcontext
given = context.config.attributes.get("connection")
if given is None and "tenant" not in context.get_x_argument(as_dictionary=True):
    raise ValueError("name a tenant with -x tenant=NAME")
with engine.connect() if given is None else nullcontext(given) as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_a_refusal_of_env_py_is_no_call_for_a_connection(
    database: Database, tmp_path: Path
) -> None:
    """An env.py that makes its own engine is not run again with ours, which it would obey."""
    project = one_of(tmp_path, REFUSING)
    with pytest.raises(automigrate.ScriptImportError, match="name a tenant with -x"):
        automigrate.upgrade(database.url, project.scripts)
    assert not database.rows("select from pg_class where relname like 't\\_r%'")
    report = automigrate.upgrade(database.url, project.scripts, x_arguments=["tenant=a"])
    assert applied(report) == ["r0001", "r0002"]


DRY_RUNS = {
    "the transaction of the context": """
        context.configure(connection=connection)
        with context.begin_transaction() as transaction:
            context.run_migrations()
            if "dry-run" in context.get_x_argument():
                transaction.rollback()
    """,
    "a transaction of its own": """
        transaction = connection.begin()
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
        if "dry-run" in context.get_x_argument():
            transaction.rollback()
        else:
            transaction.commit()
    """,
    "a statement": """
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
            if "dry-run" in context.get_x_argument():
                context.execute("ABORT;")
    """,
}


@pytest.mark.parametrize("way", DRY_RUNS)
def test_a_dry_run_of_env_py_applies_nothing(database: Database, tmp_path: Path, way: str) -> None:
    """An env.py that is asked to roll back is refused before anything has been committed."""
    body = textwrap.indent(textwrap.dedent(DRY_RUNS[way]), "    ")
    project = one_of(tmp_path, f"{CONNECT}\nwith engine.connect() as connection:{body}")
    with pytest.raises(ConfigurationError, match="nothing was run"):
        automigrate.upgrade(database.url, project.scripts, x_arguments=["dry-run"])
    assert not database.rows("select from pg_class where relname like 't\\_r%'")
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]


UNNAMED_ROLLBACK = f"""
{CONNECT}
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction() as transaction:
        context.run_migrations()
        transaction.rollback()
"""


def test_a_late_rollback_of_env_py_is_told(database: Database, tmp_path: Path) -> None:
    """Where env.py rolls back without a word of a dry run, it is said what stays."""
    project = one_of(tmp_path, UNNAMED_ROLLBACK)
    with pytest.raises(ConfigurationError, match="they stay applied"):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select version_num from alembic_version") == [("r0002",)]


UNSEEN_SCHEMA = f"""
{CONNECT}
options = "-csearch_" "path=shop"
engine = create_engine(url, poolclass=pool.NullPool, connect_args={{"options": options}})
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_a_schema_that_the_text_of_env_py_does_not_show(database: Database, tmp_path: Path) -> None:
    """Every command finds the version table, which another schema than the first one has."""
    project = one_of(tmp_path, UNSEEN_SCHEMA)
    database.execute("create schema shop")

    def migrator(**options: Any) -> automigrate.Migrator:
        return automigrate.Migrator(database.url, project.scripts, timeout=20.0, **options)

    assert applied(migrator().upgrade()) == ["r0001", "r0002"]
    assert database.rows("select version_num from shop.alembic_version") == [("r0002",)]
    assert migrator().check().verdict is Verdict.CURRENT
    assert migrator(mode="wait").upgrade().heads == ("r0002",)
    undone = migrator().downgrade("r0001", allow_data_loss=True).reverted
    assert [item.revision for item in undone] == ["r0002"]
    assert migrator().status().verdict is Verdict.BEHIND
    assert applied(migrator().upgrade()) == ["r0002"]


# Revisions


CUSTOM_SETTINGS = f"""
{CONNECT}
with engine.connect() as connection:
    connection.execute(text("set app.tenant = 'acme'"))
    connection.execute(text("select set_config('app.more', :value, false)"), {{"value": "x"}})
    connection.commit()
    context.configure(connection=connection)
    with context.begin_transaction():
        connection.execute(text("SET LOCAL app.late TO 'y'"))
        context.run_migrations()
"""


def test_settings_with_a_dot_hold_for_the_revisions(database: Database, tmp_path: Path) -> None:
    """PostgreSQL lists no custom settings, and row-level security asks for them."""
    project = one_of(tmp_path, CUSTOM_SETTINGS, revisions=0)
    shown = ", ".join(f"current_setting('app.{name}', true)" for name in ("tenant", "more", "late"))
    project.add("r0001", upgrade=f'op.execute("create table seen as select array[{shown}] as v")')
    project.add("r0002", upgrade=f'op.execute("insert into seen select array[{shown}]")')
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select v from seen") == [(["acme", "x", "y"],)] * 2


LISTENING = f"""
{CONNECT}
from sqlalchemy import event
heard = []

@event.listens_for(engine, "begin")
def begin(connection):
    connection.exec_driver_sql("set local search_path to shop")

@event.listens_for(engine, "before_cursor_execute", retval=True)
def rewrite(connection, cursor, statement, parameters, context, executemany):
    if statement.startswith("create index"):
        statement = statement.replace("create index", "create unique index")
    return statement, parameters

@event.listens_for(engine, "after_cursor_execute")
def count(connection, cursor, statement, parameters, context, executemany):
    heard.append(statement)

def before(connection, clause, parameters, more, options):
    heard.append("before")

with engine.connect() as connection:
    connection.execute(text("create schema if not exists shop"))
    connection.commit()
    event.listen(connection, "before_execute", before)
    event.listen(connection, "commit", lambda connection: heard.append("commit"))
    context.configure(connection=connection, version_table_schema="public")
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
assert heard.count("create unique index ix on t_r0001 (id)") == 1, heard
assert heard.count("commit") >= 2, heard
assert "before" in heard, heard
"""


def test_listeners_of_env_py_hear_what_the_revisions_do(database: Database, tmp_path: Path) -> None:
    """What env.py hangs on its own engine or connection rewrites, sets and counts as it would."""
    project = one_of(tmp_path, LISTENING, revisions=1)
    project.add("r0002", upgrade='op.execute("create index ix on t_r0001 (id)")')
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]
    assert database.rows(
        "select c.relnamespace::regnamespace::text, i.indisunique from pg_index i"
        " join pg_class c on c.oid = i.indexrelid where c.relname = 'ix'"
    ) == [("shop", True)]


RAISING = f"""
{CONNECT}
from sqlalchemy import event

@event.listens_for(engine, "handle_error")
def translate(caught):
    if "there already" in str(caught.original_exception):
        raise LookupError("translated")

with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_listeners_of_env_py_see_errors(database: Database, tmp_path: Path) -> None:
    """A revision catches what env.py's own handler makes of an error."""
    project = one_of(tmp_path, RAISING, revisions=1)
    project.add(
        "r0002",
        upgrade="""
        try:
            with op.get_bind().begin_nested():
                op.execute("do $$ begin raise 'there already'; end $$")
        except LookupError:
            op.execute("create table translated (id integer)")
        """,
    )
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]
    assert database.rows("select to_regclass('translated') is null") == [(False,)]


def test_a_revision_sees_the_real_url(database: Database, tmp_path: Path) -> None:
    """The engine of a revision says where it leads, and hides the password in its text."""
    project = Project(tmp_path)
    project.add(
        "r1",
        upgrade="""
        url = op.get_bind().engine.url
        assert url.password == "secret of the superuser", "password"
        assert "secret" not in str(url) + repr(op.get_bind().engine)
        op.execute(f"create table t_{url.database} (id integer)")
        """,
    )
    automigrate.upgrade(database.tcp_url, project.scripts)
    assert database.rows("select to_regclass(%s) is null", [f"t_{database.name}"]) == [(False,)]


def test_a_second_session_does_not_stand_in_for_a_lost_first(
    database: Database, tmp_path: Path
) -> None:
    """After the session was ended, a revision gets no other one that does not hold the lock (H5).

    The run begins again with a new session and applies the revision there.
    """
    marker = tmp_path / "once"
    project = Project(tmp_path)
    project.add(
        "r1",
        imports="from pathlib import Path",
        upgrade=f"""
        marker = Path({str(marker)!r})
        if not marker.exists():
            marker.touch()
            pid = op.get_bind().execute(sa.text("select pg_backend_pid()")).scalar()
            with op.get_bind().engine.connect() as second:
                second.execute(sa.text("select pg_terminate_backend(:pid)"), {{"pid": pid}})
            try:
                op.execute("select 1")
            except Exception:
                pass
            op.execute("create table on_another_session (id integer)")
        op.execute("create table t (id integer)")
        """,
    )
    report = automigrate.upgrade(database.url, project.scripts)
    assert applied(report) == ["r1"]
    assert report.attempts == 2
    assert database.rows("select to_regclass('on_another_session') is null") == [(True,)]


def test_a_commit_on_a_second_session_forbids_to_run_again(
    database: Database, tmp_path: Path
) -> None:
    """What a revision commits on a session of its own is told as not rolled back."""
    project = Project(tmp_path)
    project.add(
        "r1",
        upgrade="""
        with op.get_bind().engine.begin() as second:
            second.execute(sa.text("create table elsewhere (id integer)"))
        op.execute("select 1 / 0")
        """,
    )
    with pytest.raises(UpgradeError) as caught:
        automigrate.upgrade(database.url, project.scripts)
    assert not caught.value.rolled_back


def test_sessions_keep_nothing_of_env_py(database: Database, tmp_path: Path) -> None:
    """Role, settings and options that env.py chose are given back before the heads are verified."""
    project = one_of(
        tmp_path,
        CONNECT
        + """
with engine.connect() as connection:
    connection.execute(text("set work_mem = '17MB'"))
    connection.execute(text("set role pg_read_all_data"))
    connection.execute(text("set role none"))
    connection.commit()
    context.configure(connection=connection)
    context.run_migrations()
""",
    )
    project.add(
        "r0003",
        upgrade="assert op.get_bind().execute(sa.text('show work_mem')).scalar() == '17MB'",
    )
    assert len(applied(automigrate.upgrade(database.url, project.scripts))) == 3


def start(script: str) -> subprocess.Popen[str]:
    """Start Python on a script."""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"},
    )


def test_a_bad_verdict_is_told_though_env_py_cannot_be_asked(
    database: Database, project: Project
) -> None:
    """What is wrong with the database comes before what is wrong with env.py."""
    project.write_env(
        "import os\n"
        "from alembic import context\n"
        "context.configure(url=os.environ['NOT_SET_ANYWHERE'])\n"
        "context.run_migrations()\n"
    )
    project.extend(1)
    database.execute("create table orders (id int)")
    with pytest.raises(automigrate.UnmanagedError):
        automigrate.upgrade(database.url, project.scripts)
