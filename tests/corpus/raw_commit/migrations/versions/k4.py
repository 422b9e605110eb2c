"""k4

Revision ID: k4
Revises: k3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = 'k4'
down_revision: str | tuple[str, ...] | None = 'k3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("COMMIT")
    op.execute("ALTER TYPE status ADD VALUE IF NOT EXISTS 'late'")
    op.execute("BEGIN")
    op.create_table("archive", sa.Column("id", sa.Integer, primary_key=True), sa.Column("status", postgresql.ENUM(name="status", create_type=False), server_default="late"))


def downgrade() -> None:
    op.drop_table("archive")
