"""a last column

Revision ID: k5
Revises: k4
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'k5'
down_revision: str | None = 'k4'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("item", sa.Column("weight", sa.Integer))


def downgrade() -> None:
    op.drop_column("item", "weight")
