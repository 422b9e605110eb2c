"""b4

Revision ID: b4
Revises: b3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'b4'
down_revision: str | tuple[str, ...] | None = 'b3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_index("ix_right", "node", ["right"])


def downgrade() -> None:
    op.drop_index("ix_right")
