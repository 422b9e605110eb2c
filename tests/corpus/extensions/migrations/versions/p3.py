"""p3

Revision ID: p3
Revises: p2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'p3'
down_revision: str | tuple[str, ...] | None = 'p2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    savepoint = op.get_bind().begin_nested()
    try:
        op.execute("alter table words add column impossible no_such_type")
    except sa.exc.ProgrammingError:
        savepoint.rollback()
    else:
        savepoint.commit()
    op.add_column("words", sa.Column("possible", sa.Integer))


def downgrade() -> None:
    op.drop_column("words", "possible")
