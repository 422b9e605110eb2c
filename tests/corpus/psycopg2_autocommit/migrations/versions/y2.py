"""an index

Revision ID: y2
Revises: y1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

import sqlalchemy as sa
from alembic import op

revision: str = 'y2'
down_revision: str | None = 'y1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    connection = op.get_bind().connection.connection
    op.execute("COMMIT")
    level = connection.isolation_level
    connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    op.execute("create index concurrently ix_item_name on item (name)")
    connection.set_isolation_level(level)
    op.add_column("item", sa.Column("size", sa.Integer))


def downgrade() -> None:
    op.drop_column("item", "size")
    op.drop_index("ix_item_name")
