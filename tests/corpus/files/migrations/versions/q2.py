"""q2

Revision ID: q2
Revises: q1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
import os
from pathlib import Path

revision: str = 'q2'
down_revision: str | tuple[str, ...] | None = 'q1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute((Path(__file__).parent.parent / "sql" / "q2.sql").read_text())
    assert os.environ.setdefault("Q2_WAS_HERE", "yes")


def downgrade() -> None:
    op.execute("drop table from_sql")
