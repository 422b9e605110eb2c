"""a2

Revision ID: a2
Revises: a1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'a2'
down_revision: str | tuple[str, ...] | None = 'a1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("account", sa.Column("name", sa.Text))


def downgrade() -> None:
    op.drop_column("account", "name")
