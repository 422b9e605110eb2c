"""tables

Revision ID: q1
Revises: None
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision: str = 'q1'
down_revision: str | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("create type size as enum ('small', 'large')")
    op.execute(
        "create table parcel (id uuid primary key, weight integer, size size, tags jsonb, "
        "sent timestamptz, host inet, codes text[])"
    )
    op.execute(
        "insert into parcel (id, weight, size, host) values "
        "('5f8fbc4c-9d2b-4c55-8f1d-0d3c4b7a0c01', 1, 'small', '10.0.0.1')"
    )


def downgrade() -> None:
    op.drop_table("parcel")
    op.execute("drop type size")
