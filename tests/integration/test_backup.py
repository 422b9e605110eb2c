"""Backup and restore with PostgreSQL's own programs: whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from automigrate import BackupError, ConfigurationError, Migrator
from automigrate.database.source import source_of
from automigrate.deadline import Control
from automigrate.recovery.tools import tools_for

if TYPE_CHECKING:
    from tests.support.projects import Project
    from tests.support.servers import Database

CONTENT = """
create table account (id integer primary key, name text not null, photo bytea);
insert into account select n, 'name ' || n, decode(md5(n::text), 'hex')
  from generate_series(1, 500) n;
create type mood as enum ('good', 'bad');
create table log (at timestamptz default now(), mood mood, account int references account);
insert into log (mood, account) select 'bad', n from generate_series(1, 100) n;
create view good as select * from log where mood = 'good';
create schema extra;
create table extra.note (id bigserial, text text);
insert into extra.note (text) values (E'tab\\there'), (null), ('\\\\.'), ('COPY x FROM stdin;');
create function twice(int) returns int language sql as 'select $1 * 2';
"""
TABLES = """
select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables
where schemaname not in ('pg_catalog', 'information_schema') order by 1"""


def checksums(url: str) -> dict[str, str]:
    """Return a checksum of the rows of each table."""
    with psycopg.connect(url) as connection:
        tables = [row[0] for row in connection.execute(TABLES.encode())]
        return {
            table: str(
                connection.execute(
                    f"select md5(string_agg(t::text, '|' order by t::text)) from {table} t".encode()
                ).fetchone()
            )
            for table in tables
        }


def history(project: Project) -> None:
    """Write a revision, and one that destroys."""
    project.add("r1", upgrade=f"op.get_bind().exec_driver_sql({CONTENT!r})")


def destroying(project: Project) -> None:
    """Write a revision that destroys."""
    project.add(
        "r2",
        upgrade="""
            op.execute("drop table log cascade")
            op.execute("update account set name = 'gone'")
            op.execute("drop schema extra cascade")
            op.execute("create table newer (id int references account)")
            op.execute("drop type mood")
            op.execute("create schema later; create table later.x (i int)")
        """,
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_destructive_upgrade_is_undone_by_a_restore(
    jobs: int, database: Database, project: Project, tmp_path: Path
) -> None:
    """Schema and rows of each table are what they were; what came later is gone."""
    history(project)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    schema, rows = database.dump_schema(journal=True), checksums(database.url)
    report = migrator.backup(tmp_path / "backups", jobs=jobs)
    destroying(project)
    migrator.upgrade()
    assert checksums(database.url) != rows
    assert migrator.restore(report.path) == ("r1",)
    assert (database.dump_schema(journal=True), checksums(database.url)) == (schema, rows)
    assert migrator.upgrade().heads == ("r2",)


def test_a_plain_owner_restores_as_well(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """A role that owns the database, and is no superuser, gets its data back."""
    role = f"owner_of_{database.name}"[:60]
    name = sql.Identifier(role)
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login password 'pass word'").format(name))
        connection.execute(
            sql.SQL("alter database {} owner to {}").format(sql.Identifier(database.name), name)
        )
    url = database.tcp_url.partition("@")[2]
    owner = f"postgresql://{role}:pass%20word@{url}"
    try:
        database.execute(f"alter schema public owner to {role}; create extension citext")
        history(project)
        migrator = Migrator(owner, project.scripts)
        migrator.upgrade()
        rows = checksums(owner)
        report = migrator.backup(tmp_path / "backups")
        assert (report.restore_point, report.lsn) == (None, None)
        destroying(project)
        migrator.upgrade()
        assert migrator.restore(report.path) == ("r1",)
        assert checksums(owner) == rows
    finally:
        database.execute(f"reassign owned by {role} to current_user; drop owned by {role}")
        with psycopg.connect(database.server.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("alter database {} owner to current_user").format(
                    sql.Identifier(database.name)
                )
            )
            connection.execute(sql.SQL("drop role {}").format(name))


def test_the_manifest_says_what_it_holds(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """Heads, server version, restore point and its place in the log stand beside the backup."""
    history(project)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    report = migrator.backup(tmp_path / "backups")
    manifest = json.loads(Path(report.path + ".json").read_text())
    assert (manifest["heads"], manifest["database"]) == (["r1"], database.name)
    assert manifest["lsn"] == report.lsn is not None
    assert report.size == Path(report.path).stat().st_size
    assert stat.S_IMODE((tmp_path / "backups").stat().st_mode) == 0o700


def test_a_failed_dump_leaves_nothing(database: Database, project: Project, tmp_path: Path) -> None:
    """A table that may not be read fails the backup, and no file is there."""
    history(project)
    Migrator(database.url, project.scripts).upgrade()
    role = f"reader_of_{database.name}"[:60]
    database.execute(
        f"create role {role} login password 'x';"
        f"grant select on alembic_version, automigrate_journal to {role}"
    )
    try:
        url = f"postgresql://{role}:x@{database.tcp_url.partition('@')[2]}"
        with pytest.raises(BackupError, match="pg_dump .* permission denied"):
            Migrator(url, project.scripts).backup(tmp_path / "backups")
        assert list((tmp_path / "backups").iterdir()) == []
    finally:
        database.execute(f"drop owned by {role}; drop role {role}")


def test_a_failed_restore_changes_nothing(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """A backup that is cut off is not restored by half: everything is as before."""
    history(project)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    report = migrator.backup(tmp_path / "backups")
    path = Path(report.path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    before = database.dump_schema(), checksums(database.url)
    with pytest.raises(BackupError, match="pg_restore|psql"):
        migrator.restore(path)
    assert (database.dump_schema(), checksums(database.url)) == before


def test_only_so_many_stay(database: Database, project: Project, tmp_path: Path) -> None:
    """Older backups of the same database go, with their manifests; others stay."""
    history(project)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    directory = tmp_path / "backups"
    directory.mkdir()
    (directory / "other-20200101T000000.000000Z-x.dump").touch()
    reports = [migrator.backup(directory, keep=2) for _ in range(3)]
    left = {path.name for path in directory.iterdir()}
    assert left == {
        "other-20200101T000000.000000Z-x.dump",
        *(Path(report.path + end).name for report in reports[1:] for end in ("", ".json")),
    }


def test_a_backup_of_some_tables(database: Database, project: Project, tmp_path: Path) -> None:
    """Only what is named is in it; a table that does not exist fails it."""
    history(project)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    report = migrator.backup(tmp_path / "backups", tables=["account"])
    assert report.tables == ("public.account",)
    Path(report.path + ".json").rename(tmp_path / "away")
    rows = checksums(database.url)
    with pytest.raises(BackupError, match="of some tables only"):
        migrator.restore(report.path)
    assert checksums(database.url) == rows
    with pytest.raises(BackupError, match="no table nowhere"):
        migrator.backup(tmp_path / "backups", tables=["nowhere"])


TABLES_OF_A_SHOP = """
create table customer (id int generated by default as identity primary key, name text);
create table "Order" (id serial primary key, customer int not null
  constraint of_customer references customer on delete cascade deferrable);
comment on constraint of_customer on "Order" is 'kept';
create table event (at int, "Order" int references "Order") partition by range (at);
create table event_1 partition of event for values from (0) to (100);
create table event_2 partition of event for values from (100) to (200);
create table seen (what text);
create function see() returns trigger language plpgsql as
  $$ begin insert into seen values (tg_op); return new; end $$;
create trigger see before insert or delete or truncate on customer execute function see();
create trigger off before insert on customer execute function see();
alter table customer disable trigger off;
create trigger always before insert on "Order" execute function see();
alter table "Order" enable always trigger always;
insert into customer (name) select 'c' || n from generate_series(1, 50) n;
insert into "Order" (customer) select n from generate_series(1, 50) n;
insert into event select n, 1 + n % 50 from generate_series(0, 199) n;
delete from seen;
"""
ROWS = """
select (select count(*) from customer where name like 'c%%'), (select count(*) from "Order"),
  (select count(*) from event), (select count(*) from seen)"""


@pytest.fixture
def tables(database: Database, project: Project) -> Migrator:
    """A database whose tables refer to each other."""
    project.add("r1", upgrade=f"op.get_bind().exec_driver_sql({TABLES_OF_A_SHOP!r})")
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    return migrator


def test_rows_of_some_tables_come_back(
    tables: Migrator, database: Database, tmp_path: Path
) -> None:
    """Their rows are replaced; other tables, keys, triggers and the version stay as they are."""
    schema = database.dump_schema(journal=True)
    report = tables.backup(tmp_path / "backups", tables=["customer", "event"])
    assert report.tables == (
        "public.customer",
        "public.event",
        "public.event_1",
        "public.event_2",
    )
    saved = checksums(database.url)
    database.execute("update customer set name = 'x'; delete from event; delete from seen")
    database.execute("insert into customer (name) select 'later' from generate_series(1, 5)")
    database.execute("delete from seen")
    assert tables.restore(report.path) == ("r1",)
    assert checksums(database.url) == saved
    assert database.dump_schema(journal=True) == schema
    new = database.rows("insert into customer (name) values ('c') returning id")
    assert new == [(56,)], "a number that was given out is not given out again"


def test_rows_come_back_into_a_table_made_anew(
    tables: Migrator, database: Database, project: Project, tmp_path: Path
) -> None:
    """The upgrade that drops a table is undone by a rollback and a restore, numbers included."""
    project.add(
        "r2",
        upgrade='op.drop_column("customer", "name"); op.drop_table("event")',
        downgrade="""
            op.add_column("customer", sa.Column("name", sa.Text))
            op.execute('create table event (at int, "Order" int references "Order")'
                       " partition by range (at)")
            op.execute("create table event_1 partition of event for values from (0) to (100)")
            op.execute("create table event_2 partition of event for values from (100) to (200)")
        """,
    )
    saved, schema = checksums(database.url), database.dump_schema()
    before = Migrator(
        database.url, project.scripts, backup=str(tmp_path / "backups"), backup_scope="touched"
    )
    path = before.upgrade().backup
    assert path is not None
    with pytest.raises(BackupError, match="automigrate rollback --to r1"):
        tables.restore(path)
    tables.downgrade("r1", allow_data_loss=True)
    assert tables.restore(path) == ("r1",)
    after = checksums(database.url)
    del saved["public.automigrate_journal"], after["public.automigrate_journal"]
    assert (after, database.dump_schema()) == (saved, schema)


def test_rows_that_others_refer_to_are_not_taken_away(
    tables: Migrator, database: Database, tmp_path: Path
) -> None:
    """Where a row came that refers to what the backup does not hold, nothing changes."""
    report = tables.backup(tmp_path / "backups", tables=["customer"])
    database.execute("insert into customer (id, name) values (999, 'new')")
    database.execute('insert into "Order" (customer) values (999)')
    saved, schema = checksums(database.url), database.dump_schema(journal=True)
    with pytest.raises(BackupError, match="of_customer"):
        tables.restore(report.path)
    assert (checksums(database.url), database.dump_schema(journal=True)) == (saved, schema)


def test_the_restore_point_is_in_the_journal(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """Each revision that a run applied names the backup before it, and the place in the log."""
    history(project)
    Migrator(database.url, project.scripts).upgrade()
    destroying(project)
    report = Migrator(database.url, project.scripts, backup=str(tmp_path / "b")).upgrade()
    rows = database.rows(
        "select revision, backup, restore_point, restore_lsn::text from automigrate_journal "
        "order by id"
    )
    manifest = json.loads(Path(f"{report.backup}.json").read_text())
    assert manifest["lsn"]
    assert rows == [
        ("r1", None, None, None),
        ("r2", report.backup, manifest["restore_point"], manifest["lsn"]),
    ]


def test_the_hook_must_succeed(database: Database, project: Project, tmp_path: Path) -> None:
    """A hook that fails ends the backup before anything is written; it knows the heads."""
    history(project)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    directory = tmp_path / "backups"
    with pytest.raises(BackupError, match="hook 'false' ended with 1"):
        migrator.backup(directory, hook="false")
    with pytest.raises(BackupError, match="cannot be run"):
        migrator.backup(directory, hook="/nonexistent/program")
    assert not directory.exists()
    said = tmp_path / "said"
    script = f"sh -c 'echo $AUTOMIGRATE_HOOK_HEADS > {said}'"
    migrator.backup(directory, hook=script)
    assert said.read_text() == "r1\n"


def test_no_password_is_on_a_command_line(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """The programs get the password through their own environment."""
    tools = tools_for(source_of(database.tcp_url), Control())
    password = "secret of the superuser"
    assert password not in tools.connection
    assert "password=" not in tools.connection
    assert tools._environment()["PGPASSWORD"] == password
    assert os.environ.get("PGPASSWORD") != password


def test_older_programs_are_refused(database: Database, tmp_path: Path) -> None:
    """A named directory must have a pg_dump that the server is not too new for."""
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    program.chmod(0o755)
    with pytest.raises(ConfigurationError, match="has pg_dump 9, and the server is PostgreSQL"):
        tools_for(source_of(database.url), Control(), directory=str(tmp_path))


def test_an_upgrade_makes_its_backup_first(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """The backup holds what was there before the upgrade; an empty database needs none."""
    history(project)
    directory = tmp_path / "backups"
    migrator = Migrator(database.url, project.scripts, backup=directory, backup_keep=1)
    assert migrator.upgrade().backup is None
    rows = checksums(database.url)
    destroying(project)
    report = migrator.upgrade()
    assert report.backup is not None
    migrator.restore(report.backup)
    assert checksums(database.url) == rows
    assert migrator.upgrade().backup != report.backup
    assert len(list(directory.glob("*.dump"))) == 1
    assert migrator.upgrade().backup is None


def test_no_backup_no_migration(database: Database, project: Project, tmp_path: Path) -> None:
    """Where the backup fails nothing is applied, and nothing is undone."""
    history(project)
    Migrator(database.url, project.scripts).upgrade()
    destroying(project)
    (tmp_path / "file").touch()
    before = database.dump_schema(journal=True)
    refusing = Migrator(database.url, project.scripts, backup=tmp_path / "file")
    with pytest.raises(BackupError, match="directory cannot be used"):
        refusing.upgrade()
    with pytest.raises(BackupError):
        Migrator(database.url, project.scripts, backup_hook="false").upgrade()
    with pytest.raises(BackupError):
        refusing.downgrade("base")
    assert database.dump_schema(journal=True) == before


def test_a_rollback_makes_its_backup_first(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """What a rollback destroys is in the backup."""
    project.add(
        "r1",
        upgrade='op.execute("create table t as select 1 as id")',
        downgrade='op.drop_table("t")',
    )
    migrator = Migrator(database.url, project.scripts, backup=tmp_path / "backups")
    migrator.upgrade()
    report = migrator.downgrade("base", allow_data_loss=True)
    assert database.rows("select to_regclass('t') is null") == [(True,)]
    assert report.backup is not None
    assert migrator.restore(report.backup) == ("r1",)
    assert database.rows("select id from t") == [(1,)]


TOUCHING = {
    "a change": ('op.add_column("account", sa.Column("x", sa.Text))', ("public.account",)),
    "a drop": ('op.execute("drop table log cascade")', ("public.log",)),
    "rows": ("op.execute(\"update extra.note set text = ''\")", ("extra.note",)),
    "something new": ('op.create_table("newer", sa.Column("id", sa.Integer))', None),
    "what cannot be told": ('op.execute("do $$ begin end $$")', ()),
}


@pytest.mark.parametrize(("upgrade", "tables"), TOUCHING.values(), ids=list(TOUCHING))
def test_a_backup_of_what_is_touched(
    upgrade: str,
    tables: tuple[str, ...] | None,
    database: Database,
    project: Project,
    tmp_path: Path,
) -> None:
    """Only tables that the pending revisions change are saved; everything where nobody can tell."""
    history(project)
    directory = tmp_path / "backups"
    migrator = Migrator(database.url, project.scripts, backup=directory, backup_scope="touched")
    migrator.upgrade()
    project.add("r2", upgrade=upgrade)
    report = migrator.upgrade()
    if tables is None:
        assert report.backup == ""
        return
    manifest = json.loads(Path(str(report.backup) + ".json").read_text())
    assert tuple(manifest["tables"]) == tables
