"""rows, statements and errors

Revision ID: w4
Revises: w3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

from contextlib import closing

import psycopg2.errorcodes
import psycopg2.errors
import psycopg2.extras
from psycopg2 import sql
from psycopg2.extensions import AsIs

import sqlalchemy as sa
from alembic import op

revision: str = 'w4'
down_revision: str | None = 'w3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    bind = op.get_bind()
    raw = bind.connection.connection
    with raw.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("select id, name from item order by id")
        assert cursor.fetchone()["name"] == "a"
    with bind.connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
        cursor.execute("select id, name from item order by id")
        row = cursor.fetchone()
        assert (row["name"], row[1]) == ("a", "a")
    cursor = raw.cursor()
    statement = sql.SQL("update {} set name = %s where id = {}")
    cursor.execute(statement.format(sql.Identifier("item"), sql.Literal(1)), ("it's",))
    cursor.execute("select %s from item where id = 1", (AsIs("name"),))
    assert cursor.fetchone() == ("it's",)
    assert cursor.mogrify("select %s", ("a",)) == b"select 'a'"
    try:
        with bind.begin_nested():
            bind.execute(sa.text("insert into item (id) values (1)"))
    except sa.exc.IntegrityError as error:
        assert isinstance(error.orig, psycopg2.errors.UniqueViolation)
        assert error.orig.pgcode == psycopg2.errorcodes.UNIQUE_VIOLATION
    cursor.execute("savepoint before_error")
    try:
        cursor.execute("insert into item (id) values (1)")
    except psycopg2.IntegrityError as error:
        assert error.diag.constraint_name in error.pgerror
        cursor.execute("rollback to before_error")
    several = "create temporary table few on commit drop as select 1 as n; select n from few"
    assert bind.scalar(sa.text(several)) == 1
    assert bind.scalar(sa.text("select 'ab'::bytea")).tobytes() == b"ab"
    with closing(psycopg2.connect(raw.dsn)) as other:
        other.cursor().execute("select 1")
    assert raw.get_dsn_parameters()["dbname"] == bind.engine.url.database
    op.add_column("item", sa.Column("size", sa.Integer))


def downgrade() -> None:
    op.drop_column("item", "size")
