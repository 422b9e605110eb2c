"""u1

Revision ID: u1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'u1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("create type colour as enum ('red')")
    op.create_table("u", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("u")
    op.execute("drop type colour")
