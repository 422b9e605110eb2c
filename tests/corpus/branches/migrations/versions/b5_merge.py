"""b5

Revision ID: b5
Revises: ('b2', 'b4')
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'b5'
down_revision: str | tuple[str, ...] | None = ('b2', 'b4')
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
