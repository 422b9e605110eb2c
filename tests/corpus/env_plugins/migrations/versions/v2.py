"""v2

Revision ID: v2
Revises: v1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic_postgresql_enum import TableReference

revision: str = 'v2'
down_revision: str | tuple[str, ...] | None = 'v1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("insert into document values ('a', 'new', '[1,2,3]')")
    op.sync_enum_values(
        enum_schema="public",
        enum_name="document_state",
        new_values=["new", "read", "done"],
        affected_columns=[TableReference(table_schema="public", table_name="document", column_name="state")],
        enum_values_to_rename=[],
    )
    op.execute("update document set state = 'done'")


def downgrade() -> None:
    op.execute("delete from document")
    op.sync_enum_values(
        enum_schema="public",
        enum_name="document_state",
        new_values=["new", "read"],
        affected_columns=[TableReference(table_schema="public", table_name="document", column_name="state")],
        enum_values_to_rename=[],
    )
