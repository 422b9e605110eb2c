"""i2

Revision ID: i2
Revises: i1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic import context

revision: str = 'i2'
down_revision: str | tuple[str, ...] | None = 'i1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

config = context.config
NAME = context.get_x_argument(as_dictionary=True).get("table", "nothing")
SEED = "seed=1" in context.get_x_argument()


def upgrade() -> None:
    if context.is_offline_mode():
        raise RuntimeError("offline")
    if SEED:
        op.execute(f"insert into {NAME} (id) values (7)")


def downgrade() -> None:
    op.execute(f"delete from {NAME}")
