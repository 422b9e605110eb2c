"""r2

Revision ID: r2
Revises: r1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'r2'
down_revision: str | tuple[str, ...] | None = 'r1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    async def seed(connection):
        await connection.execute(sa.text("insert into r values (:id)"), [{"id": 1}, {"id": 2}])
        return (await connection.execute(sa.text("select count(*) from r"))).scalar()

    assert op.run_async(seed) == 2
    op.add_column("r", sa.Column("a", sa.Integer))


def downgrade() -> None:
    op.drop_column("r", "a")
    op.execute("delete from r")
