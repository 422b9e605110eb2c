"""q1

Revision ID: q1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pathlib import Path

revision: str = 'q1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

TABLES = Path(__file__).with_name("tables.txt").read_text().split()


def upgrade() -> None:
    for name in TABLES:
        op.create_table(name, sa.Column("id", sa.Integer, primary_key=True))
    Path("applied.log").write_text("q1")


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
