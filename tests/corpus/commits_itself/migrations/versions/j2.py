"""j2

Revision ID: j2
Revises: j1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'j2'
down_revision: str | tuple[str, ...] | None = 'j1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    bind = op.get_bind()
    bind.execute(sa.text("set statement_timeout = 120000"))
    while bind.execute(sa.text("update item set kind = 'new' where id in (select id from item where kind = 'old' limit 100)")).rowcount:
        bind.commit()
    op.alter_column("item", "kind", nullable=False)


def downgrade() -> None:
    op.alter_column("item", "kind", nullable=True)
    op.execute("update item set kind = 'old'")
