"""n2

Revision ID: n2
Revises: n1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'n2'
down_revision: str | tuple[str, ...] | None = 'n1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table("assembly", sa.Column("id", sa.Integer, primary_key=True), sa.Column("part_id", sa.Integer, sa.ForeignKey("part.id"), index=True))
    op.create_unique_constraint(None, "assembly", ["part_id"])


def downgrade() -> None:
    op.drop_table("assembly")
