"""l3

Revision ID: l3
Revises: l2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'l3'
down_revision: str | None = 'l2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("alter table visit add column undone text")
    op.execute(sa.text("rollback transaction"))


def downgrade() -> None:
    op.execute("ABORT")
    op.execute("comment on table visit is 'l2'")
