"""s2

Revision ID: s2
Revises: s1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 's2'
down_revision: str | tuple[str, ...] | None = 's1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

S = sa.Table("s", sa.MetaData(), sa.Column("id", sa.Integer), schema="per_tenant")


def upgrade() -> None:
    op.get_bind().execute(S.insert(), [{"id": 1}])
    op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), schema="per_tenant")


def downgrade() -> None:
    op.drop_table("t", schema="per_tenant")
    op.get_bind().execute(S.delete())
