"""u2

Revision ID: u2
Revises: u1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'u2'
down_revision: str | tuple[str, ...] | None = 'u1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("alter type colour add value 'green'")
    op.execute("alter table u add column colour colour default 'green'")
    op.create_index("ix_u", "u", ["colour"], postgresql_concurrently=True)
    op.execute("insert into u values (1)")
    op.execute("vacuum u")


def downgrade() -> None:
    op.drop_column("u", "colour")
    op.execute("delete from u")
    op.execute("drop type colour")
    op.execute("create type colour as enum ('red')")
