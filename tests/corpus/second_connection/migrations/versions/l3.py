"""l3

Revision ID: l3
Revises: l2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'l3'
down_revision: str | tuple[str, ...] | None = 'l2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    engine = sa.create_engine(op.get_bind().engine.url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as second:
        second.execute(sa.text("create index concurrently ix_doc_body on doc (body)"))
    engine.dispose()
    metadata = sa.MetaData()
    doc = sa.Table("doc", metadata, autoload_with=op.get_bind().engine)
    assert "body" in doc.c
    assert "doc" in sa.inspect(op.get_bind().engine).get_table_names()
    assert op.get_bind().engine.url.database


def downgrade() -> None:
    op.drop_index("ix_doc_body")
