"""a column everywhere

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
    for name in sa.inspect(op.get_bind()).get_table_names():
        if name != "alembic_version":
            op.add_column(name, sa.Column("tenant", sa.Integer))


def downgrade() -> None:
    pass
