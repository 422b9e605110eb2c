"""l4

Revision ID: l4
Revises: l3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'l4'
down_revision: str | tuple[str, ...] | None = 'l3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    with op.get_bind().engine.connect().execution_options(isolation_level="AUTOCOMMIT") as second:
        second.execute(sa.text("vacuum doc"))
    op.add_column("doc", sa.Column("last", sa.Integer))


def downgrade() -> None:
    op.drop_column("doc", "last")
