"""g2

Revision ID: g2
Revises: g1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'g2'
down_revision: str | tuple[str, ...] | None = 'g1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("status", sa.String(10), nullable=True))
        batch_op.alter_column("name", existing_type=sa.String(50), type_=sa.String(250), nullable=False)
        batch_op.drop_column("old")
        batch_op.create_index("ix_run_status", ["status"])


def downgrade() -> None:
    with op.batch_alter_table("run") as batch_op:
        batch_op.drop_index("ix_run_status")
        batch_op.add_column(sa.Column("old", sa.Integer))
        batch_op.alter_column("name", existing_type=sa.String(250), type_=sa.String(50), nullable=True)
        batch_op.drop_column("status")
