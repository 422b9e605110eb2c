"""n1

Revision ID: n1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'n1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table(
        "part",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(8), unique=True),
        sa.Column("weight", sa.Integer),
        sa.CheckConstraint("weight > 0", name="positive_weight"),
    )


def downgrade() -> None:
    op.drop_table("part")
