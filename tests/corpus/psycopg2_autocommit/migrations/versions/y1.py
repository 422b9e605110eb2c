"""table

Revision ID: y1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

from sqlalchemy.dialects import postgresql

import sqlalchemy as sa
from alembic import op

revision: str = 'y1'
down_revision: str | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table(
        "item",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40)),
        sa.Column("data", postgresql.JSONB),
    )
    op.execute("insert into item (id, name) values (1, 'a'), (2, 'b')")


def downgrade() -> None:
    op.drop_table("item")
