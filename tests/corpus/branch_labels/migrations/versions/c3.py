"""c3

Revision ID: c3
Revises: c2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'c3'
down_revision: str | tuple[str, ...] | None = 'c2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("plugin", sa.Column("name", sa.Text))


def downgrade() -> None:
    op.drop_column("plugin", "name")
