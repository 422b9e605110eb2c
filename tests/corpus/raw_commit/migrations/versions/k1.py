"""k1

Revision ID: k1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = 'k1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("create type status as enum ('open')")
    op.create_table("task", sa.Column("id", sa.Integer, primary_key=True), sa.Column("status", postgresql.ENUM(name="status", create_type=False)), sa.Column("tags", postgresql.JSONB()))
    op.execute("insert into task values (1, 'open')")


def downgrade() -> None:
    op.drop_table("task")
    op.execute("drop type status")
