"""v1

Revision ID: v1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
import pgvector.sqlalchemy
import sqlmodel

revision: str = 'v1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("create extension if not exists vector")
    op.create_table(
        "document",
        sa.Column("id", sqlmodel.sql.sqltypes.AutoString(length=36), primary_key=True),
        sa.Column("state", sa.Enum("new", "read", name="document_state"), nullable=False),
        sa.Column("embedding", pgvector.sqlalchemy.Vector(dim=3)),
    )


def downgrade() -> None:
    op.drop_table("document")
    op.execute("drop type document_state")
    op.execute("drop extension vector")
