"""the usual one again

Revision ID: m3
Revises: m2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'm3'
down_revision: str | None = 'm2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    level = op.get_bind().scalar(sa.text("show transaction_isolation"))
    op.execute(f"comment on table item is '{level}'")


def downgrade() -> None:
    op.execute("comment on table item is null")
