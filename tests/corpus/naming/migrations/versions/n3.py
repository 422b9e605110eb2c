"""n3

Revision ID: n3
Revises: n2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'n3'
down_revision: str | tuple[str, ...] | None = 'n2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_check_constraint("short_code", "part", "length(code) < 8")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_part_short_code"), "part")
