"""p2

Revision ID: p2
Revises: p1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'p2'
down_revision: str | tuple[str, ...] | None = 'p1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    if op.get_bind().execute(sa.text("select true from pg_extension where extname = 'pg_trgm'")).scalar():
        op.execute("create index ix_words_word on words using gin ((word::text) gin_trgm_ops)")


def downgrade() -> None:
    op.execute("drop index ix_words_word")
