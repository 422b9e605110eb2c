"""j1

Revision ID: j1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'j1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table("item", sa.Column("id", sa.Integer, sa.Identity(), primary_key=True), sa.Column("kind", sa.Text))
    op.execute("insert into item (kind) select 'old' from generate_series(1, 250)")


def downgrade() -> None:
    op.drop_table("item")
