"""a type

Revision ID: k4
Revises: k3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

from sqlalchemy.dialects import postgresql

import sqlalchemy as sa
from alembic import op

revision: str = 'k4'
down_revision: str | None = 'k3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

state = postgresql.ENUM("NEW", "DONE", name="state")
try:
    state.create(op.get_bind(), checkfirst=True)
except NameError:
    pass  # somebody reads the history without a database


def upgrade() -> None:
    op.add_column("item", sa.Column("state", state, server_default="NEW", nullable=False))


def downgrade() -> None:
    op.drop_column("item", "state")
    state.drop(op.get_bind())
