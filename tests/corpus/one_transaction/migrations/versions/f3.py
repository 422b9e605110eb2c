"""f3

Revision ID: f3
Revises: f2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'f3'
down_revision: str | tuple[str, ...] | None = 'f2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("create index concurrently ix_person_lower on person (lower(name))")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently ix_person_lower")
