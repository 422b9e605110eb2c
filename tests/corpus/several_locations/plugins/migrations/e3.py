"""e3

Revision ID: e3
Revises: e2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'e3'
down_revision: str | tuple[str, ...] | None = 'e2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("e", sa.Column("plugged", sa.Integer))


def downgrade() -> None:
    op.drop_column("e", "plugged")
