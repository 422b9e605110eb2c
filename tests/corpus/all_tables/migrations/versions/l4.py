"""another table

Revision ID: l4
Revises: l3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'l4'
down_revision: str | None = 'l3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table("other", sa.Column("id", sa.Integer))


def downgrade() -> None:
    op.drop_table("other")
