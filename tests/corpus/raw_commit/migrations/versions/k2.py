"""k2

Revision ID: k2
Revises: k1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'k2'
down_revision: str | tuple[str, ...] | None = 'k1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("COMMIT")
    op.execute("create index concurrently if not exists ix_task_tags on task using gin (tags)")
    op.execute("CREATE INDEX CONCURRENTLY ix_task_status ON task (status)")


def downgrade() -> None:
    op.drop_index("ix_task_tags")
    op.drop_index("ix_task_status")
