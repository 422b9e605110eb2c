"""q3

Revision ID: q3
Revises: q2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from names import table_name

revision: str = 'q3'
down_revision: str | tuple[str, ...] | None = 'q2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table(table_name("q3"), sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table(table_name("q3"))
