"""a table that is there already

Revision ID: e3
Revises: e2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'e3'
down_revision: str | None = 'e2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    try:
        op.create_table("item", sa.Column("id", sa.Integer))
    except sa.exc.ProgrammingError as error:
        if "already exists" not in str(error.orig):
            raise
    op.create_index("ix_item_name", "item", ["name"])


def downgrade() -> None:
    op.drop_index("ix_item_name")
