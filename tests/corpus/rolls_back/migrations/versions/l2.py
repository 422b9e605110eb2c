"""l2

Revision ID: l2
Revises: l1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'l2'
down_revision: str | None = 'l1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("create table undone (id integer)")
    op.execute("ROLLBACK")
    op.execute("alter table visit add column note text")


def downgrade() -> None:
    op.execute("alter table visit drop column note")
