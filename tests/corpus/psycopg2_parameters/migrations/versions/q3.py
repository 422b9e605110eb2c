"""a default and a driver's statement

Revision ID: q3
Revises: q2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

DEFAULT = 16

revision: str = 'q3'
down_revision: str | None = 'q2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("parcel", sa.Column("attempts", sa.Integer, server_default=str(DEFAULT)))
    parcel = sa.table("parcel", sa.column("attempts"), sa.column("weight"), sa.column("codes"))
    op.execute(parcel.update().values(attempts=str(DEFAULT), codes=["a", "b"]))
    op.execute(sa.update(parcel).where(parcel.c.weight == "16").values(weight="17"))
    connection = op.get_bind()
    connection.exec_driver_sql(
        "update parcel set weight = %(weight)s where weight = %(old)s; comment on table parcel is 'x'",
        {"weight": "18", "old": "17"},
    )
    assert connection.execute(sa.text("select weight from parcel")).scalar_one() == 18
    op.alter_column("parcel", "attempts", nullable=False)


def downgrade() -> None:
    op.drop_column("parcel", "attempts")
