"""d3

Revision ID: d3
Revises: d2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'd3'
down_revision: str | tuple[str, ...] | None = 'd2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("d", sa.Column("b", sa.Integer))


def downgrade() -> None:
    op.drop_column("d", "b")
