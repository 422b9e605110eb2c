"""0a2

Revision ID: 0a2
Revises: 0a1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = '0a2'
down_revision: str | tuple[str, ...] | None = '0a1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table(
        "order",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("customer_id", sa.BigInteger(), sa.ForeignKey("customer.id", ondelete="CASCADE"), nullable=False),
        sa.Column("total", sa.Numeric(12, 2), nullable=False),
    )
    op.create_index(op.f("ix_order_customer_id"), "order", ["customer_id"])


def downgrade() -> None:
    op.drop_table("order")
