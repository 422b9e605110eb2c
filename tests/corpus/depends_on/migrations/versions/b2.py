"""b2

Revision ID: b2
Revises: b1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'b2'
down_revision: str | tuple[str, ...] | None = 'b1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = 'a2'


def upgrade() -> None:
    op.add_column("badge", sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id")))


def downgrade() -> None:
    op.drop_column("badge", "account_id")
