"""b6

Revision ID: b6
Revises: b5
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'b6'
down_revision: str | tuple[str, ...] | None = 'b5'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("node", sa.Column("name", sa.String(20)))


def downgrade() -> None:
    op.drop_column("node", "name")
