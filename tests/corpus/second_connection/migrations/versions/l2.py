"""l2

Revision ID: l2
Revises: l1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'l2'
down_revision: str | tuple[str, ...] | None = 'l1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    with op.get_bind().engine.begin() as second:
        second.execute(sa.text("insert into doc values (1, 'by a second connection')"))
    with op.get_bind().engine.connect() as second:
        assert second.execute(sa.text("select count(*) from doc")).scalar() == 1
    op.execute("insert into doc values (2, 'by the first')")


def downgrade() -> None:
    op.execute("delete from doc")
