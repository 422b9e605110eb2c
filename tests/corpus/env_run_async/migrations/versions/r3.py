"""r3

Revision ID: r3
Revises: r2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'r3'
down_revision: str | tuple[str, ...] | None = 'r2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index("ix_r", "r", ["a"], postgresql_concurrently=True)


def downgrade() -> None:
    op.drop_index("ix_r")
