"""v4

Revision ID: v4
Revises: v3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'v4'
down_revision: str | tuple[str, ...] | None = 'v3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index("ix_embedding", "document", ["embedding"], postgresql_using="hnsw", postgresql_concurrently=True, postgresql_ops={"embedding": "vector_l2_ops"})


def downgrade() -> None:
    op.drop_index("ix_embedding")
