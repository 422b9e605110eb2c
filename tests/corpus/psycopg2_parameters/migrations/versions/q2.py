"""strings for columns of other types

Revision ID: q2
Revises: q1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision: str = 'q2'
down_revision: str | None = 'q1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    connection = op.get_bind()
    parcel = "5f8fbc4c-9d2b-4c55-8f1d-0d3c4b7a0c01"
    statement = sa.text(
        "update parcel set weight = :weight, size = :size, tags = :tags, sent = :sent "
        "where id = :id"
    )
    values = {"weight": "16", "size": "large", "tags": '{"a": 1}', "sent": "2026-01-01", "id": parcel}
    assert connection.execute(statement, values).rowcount == 1
    found = connection.execute(
        sa.text("select host from parcel where weight in :weights and id = any(cast(:ids as uuid[]))"),
        {"weights": (16, 17), "ids": [parcel]},
    ).scalar_one()
    assert found == "10.0.0.1"
    op.alter_column("parcel", "weight", nullable=False)


def downgrade() -> None:
    op.alter_column("parcel", "weight", nullable=True)
