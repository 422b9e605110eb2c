"""m3

Revision ID: m3
Revises: m2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import orm

revision: str = 'm3'
down_revision: str | tuple[str, ...] | None = 'm2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    with orm.Session(op.get_bind()) as session, session.begin():
        session.execute(sa.text("update member set level = level + 1"))
    op.alter_column("member", "level", nullable=False)


def downgrade() -> None:
    op.alter_column("member", "level", nullable=True)
