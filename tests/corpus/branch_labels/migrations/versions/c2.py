"""c2

Revision ID: c2
Revises: c1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'c2'
down_revision: str | tuple[str, ...] | None = 'c1'
branch_labels: str | tuple[str, ...] | None = ('plugins',)
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table("plugin", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("plugin")
