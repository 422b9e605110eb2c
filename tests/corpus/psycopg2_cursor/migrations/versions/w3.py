"""copy

Revision ID: w3
Revises: w2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import io

import sqlalchemy as sa
from alembic import op

revision: str = 'w3'
down_revision: str | None = 'w2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    cursor = op.get_bind().connection.cursor()
    cursor.copy_from(io.StringIO("30\tc\n31\t\\N\n"), "item", columns=("id", "name"))
    header = "copy item (id, name) from stdin with (format csv, header true)"
    op.get_bind().connection.cursor().copy_expert(header, io.StringIO("id,name\n40,dd\n"))
    written = io.StringIO()
    cursor.copy_to(written, "item", sep="|", columns=("id", "name"))
    assert "40|dd\n" in written.getvalue()
    found = io.BytesIO()
    cursor.copy_expert("copy (select id from item where id < 3) to stdout", found)
    assert found.getvalue() == b"1\n2\n"
    op.create_index("ix_item_name", "item", ["name"])


def downgrade() -> None:
    op.drop_index("ix_item_name")
    op.execute("delete from item where id > 29")
