"""serializable

Revision ID: m2
Revises: m1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'm2'
down_revision: str | None = 'm1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    level = op.get_bind().scalar(sa.text("show transaction_isolation"))
    op.execute(f"alter table item alter name set default '{level}'")
    op.add_column("item", sa.Column("size", sa.Integer))


def downgrade() -> None:
    op.drop_column("item", "size")
    op.alter_column("item", "name", server_default=None)
