"""j4

Revision ID: j4
Revises: j3b
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'j4'
down_revision: str | tuple[str, ...] | None = 'j3b'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("item", sa.Column("last", sa.Integer))


def downgrade() -> None:
    op.drop_column("item", "last")
