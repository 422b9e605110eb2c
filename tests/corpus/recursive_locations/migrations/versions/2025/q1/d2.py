"""d2

Revision ID: d2
Revises: d1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'd2'
down_revision: str | tuple[str, ...] | None = 'd1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("d", sa.Column("a", sa.Integer))


def downgrade() -> None:
    op.drop_column("d", "a")
