"""l4

Revision ID: l4
Revises: l3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'l4'
down_revision: str | None = 'l3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("alter table visit add column kept text")
    op.execute("COMMIT")
    op.execute("ROLLBACK")
    op.execute("create index concurrently ix_visit_kept on visit (kept)")
    op.execute("alter table visit add column last text")


def downgrade() -> None:
    op.execute("alter table visit drop column kept, drop column last")
