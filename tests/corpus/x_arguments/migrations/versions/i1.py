"""i1

Revision ID: i1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic import context

revision: str = 'i1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    arguments = context.get_x_argument(as_dictionary=True)
    assert not context.is_offline_mode()
    assert not op.get_context().as_sql
    assert context.config.get_main_option("sqlalchemy.url")
    op.create_table(arguments["table"], sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table(context.get_x_argument(as_dictionary=True)["table"])
