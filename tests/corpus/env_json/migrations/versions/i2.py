"""data

Revision ID: i2
Revises: i1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import datetime as dt

from sqlalchemy.dialects import postgresql

import sqlalchemy as sa
from alembic import op

revision: str = 'i2'
down_revision: str | None = 'i1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    item = sa.table("item", sa.column("id"), sa.column("data", postgresql.JSONB))
    day = dt.date(2026, 1, 1)
    op.bulk_insert(item, [{"id": 60, "data": {"at": day}}])
    op.execute(item.update().where(item.c.id == 1).values(data={"at": day}))
    assert op.get_bind().scalar(sa.select(item.c.data["at"].astext).where(item.c.id == 60)) == "2026-01-01"
    op.add_column("item", sa.Column(op.get_bind().info["column"], sa.Text))


def downgrade() -> None:
    op.drop_column("item", "colour")
    op.execute("delete from item where id > 2")
