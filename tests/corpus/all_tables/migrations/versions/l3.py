"""another schema

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
    op.execute("create schema app")
    metadata = sa.MetaData()
    metadata.reflect(bind=op.get_bind())
    for name in metadata.tables:
        if name != "alembic_version":
            op.execute(f"alter table {name} set schema app")


def downgrade() -> None:
    pass
