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
    assert report.tables == ("account",)
    rows = checksums(database.url)
    with pytest.raises(BackupError, match="of some tables only"):
        migrator.restore(report.path)
    assert checksums(database.url) == rows
    with pytest.raises(BackupError, match="no matching tables"):
        migrator.backup(tmp_path / "backups", tables=["nowhere"])


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
