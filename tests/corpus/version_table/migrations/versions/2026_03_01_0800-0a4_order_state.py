"""0a4

Revision ID: 0a4
Revises: 0a3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = '0a4'
down_revision: str | tuple[str, ...] | None = '0a3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    state = sa.Enum("open", "paid", "sent", name="order_state")
    state.create(op.get_bind(), checkfirst=True)
    op.add_column("order", sa.Column("state", state, nullable=False, server_default="open"))


def downgrade() -> None:
    op.drop_column("order", "state")
    sa.Enum(name="order_state").drop(op.get_bind(), checkfirst=True)
