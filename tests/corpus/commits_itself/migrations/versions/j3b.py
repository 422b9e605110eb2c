"""j3b

Revision ID: j3b
Revises: j3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'j3b'
down_revision: str | tuple[str, ...] | None = 'j3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.get_bind().commit()
    bind = op.get_bind().execution_options(isolation_level="AUTOCOMMIT")
    bind.execute(sa.text("create index concurrently ix_item_both on item (kind, id)"))
    bind.execute(sa.text("vacuum item"))


def downgrade() -> None:
    op.drop_index("ix_item_both")
