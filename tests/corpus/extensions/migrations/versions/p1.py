"""p1

Revision ID: p1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'p1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    for name in ("citext", "hstore", "not_to_be_had_anywhere", "pg_trgm"):
        try:
            with op.get_bind().begin_nested():
                op.execute(f'create extension if not exists "{name}"')
        except sa.exc.DBAPIError:
            continue
    op.execute("create table words (id serial primary key, word citext, more hstore default '')")


def downgrade() -> None:
    op.execute("drop table words")
    for name in ("citext", "hstore", "pg_trgm"):
        op.execute(f"drop extension {name}")
