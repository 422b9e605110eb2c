"""v3

Revision ID: v3
Revises: v2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_view import PGView

revision: str = 'v3'
down_revision: str | tuple[str, ...] | None = 'v2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

READ = PGView(schema="public", signature="read_document", definition="select id from document where state = 'read'")
TITLE = PGFunction(
    schema="public",
    signature="title(id text)",
    definition="returns text language sql immutable as $$ select 'document: ' || id $$",
)


def upgrade() -> None:
    op.create_entity(READ)
    op.create_entity(TITLE)


def downgrade() -> None:
    op.drop_entity(TITLE)
    op.drop_entity(READ)
