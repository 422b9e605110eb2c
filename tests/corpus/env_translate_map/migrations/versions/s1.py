"""s1

Revision ID: s1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 's1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table("s", sa.Column("id", sa.Integer, primary_key=True), schema="per_tenant")


def downgrade() -> None:
    op.drop_table("s", schema="per_tenant")
