"""names by what was there

Revision ID: k3
Revises: k2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'k3'
down_revision: str | None = 'k2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

bind = op.get_bind()
WAS_THERE = sa.inspect(bind).has_table('item')


def upgrade() -> None:
    op.add_column("item", sa.Column("late" if WAS_THERE else "early", sa.Text))


def downgrade() -> None:
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("item")}
    op.drop_column("item", (columns & {"late", "early"}).pop())
