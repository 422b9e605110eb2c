"""on a second connection of the engine

Revision ID: q4
Revises: q3
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision: str = 'q4'
down_revision: str | None = 'q3'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    engine = op.get_bind().engine
    catalogue = sa.Table("pg_class", sa.MetaData(), schema="pg_catalog", autoload_with=engine)
    statement = sa.text("select relname from pg_class where oid in :oids and reltype >= :least")
    with engine.connect() as second:
        names = second.execute(statement, {"oids": (1259,), "least": "1"}).scalars().all()
    assert names == [catalogue.name]
    op.add_column("parcel", sa.Column("counted", sa.Integer))


def downgrade() -> None:
    op.drop_column("parcel", "counted")
