"""an index on the driver's cursor

Revision ID: y3
Revises: y2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'y3'
down_revision: str | None = 'y2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("create type size as enum ('s')")
    op.get_bind().execute(sa.text("commit"))
    connection = op.get_bind().connection
    connection.set_isolation_level(0)
    cursor = connection.cursor()
    cursor.execute("alter type size add value 'm'")
    cursor.execute("create index concurrently ix_item_data on item using gin (data)")
    try:
        cursor.execute("alter table item drop column nothing")
    except Exception:
        pass
    cursor.execute("alter table item add column named size default 'm'")
    connection.set_isolation_level(1)
    op.add_column("item", sa.Column("weight", sa.Integer))


def downgrade() -> None:
    op.drop_column("item", "weight")
    op.drop_column("item", "named")
    op.drop_index("ix_item_data")
    op.execute("drop type size")
