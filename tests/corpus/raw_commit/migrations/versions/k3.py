"""k3

Revision ID: k3
Revises: k2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'k3'
down_revision: str | tuple[str, ...] | None = 'k2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("task", sa.Column("note", sa.Text))
    op.execute("COMMIT")
    op.execute("alter type status add value if not exists 'done'")
    op.execute("update task set status = 'done' where id = 1")
    op.execute(sa.text("commit;"))
    op.execute("vacuum task")


def downgrade() -> None:
    op.drop_column("task", "note")
    op.execute("update task set status = 'open'")
