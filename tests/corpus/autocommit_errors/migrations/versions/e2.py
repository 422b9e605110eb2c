"""errors that are caught

Revision ID: e2
Revises: e1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

from sqlalchemy import orm

import sqlalchemy as sa
from alembic import op

revision: str = 'e2'
down_revision: str | None = 'e1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    try:
        op.add_column("item", sa.Column("name", sa.Text))
    except Exception as error:
        print("not added:", type(error).__name__)
    try:
        op.drop_column("item", "nothing")
    except sa.exc.ProgrammingError:
        pass
    op.add_column("item", sa.Column("colour", sa.Text))
    session = orm.Session(bind=op.get_bind())
    session.execute(sa.text("update item set colour = 'red' where id = 1"))
    try:
        session.execute(sa.text("update item set nowhere = 'x'"))
        session.commit()
    except sa.exc.ProgrammingError:
        session.rollback()
    op.execute("alter table item alter colour set default 'green'")
    assert op.get_bind().scalar(sa.text("select colour from item where id = 1")) == "red"


def downgrade() -> None:
    op.drop_column("item", "colour")
