"""many rows

Revision ID: w2
Revises: w1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

from psycopg2.extras import Json, NumericRange, execute_batch, execute_values

import sqlalchemy as sa
from alembic import op

revision: str = 'w2'
down_revision: str | None = 'w1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    cursor = op.get_bind().connection.cursor()
    rows = [(number, f"n%{number}", Json({"a": "ü"})) for number in range(10, 20)]
    execute_values(cursor, "insert into item (id, name, data) values %s", rows)
    returned = execute_values(
        cursor,
        "insert into item (id, name) values %s returning id",
        [(number, "x") for number in range(20, 25)],
        fetch=True,
    )
    assert returned == [(number,) for number in range(20, 25)]
    execute_batch(cursor, "update item set name = %s where id = %s", [("u", 20), ("v", 21)])
    cursor.execute("select 3 <@ %s::int4range", (NumericRange(1, 5),))
    assert cursor.fetchone() == (True,)
    cursor.close()
    op.get_bind().execute(sa.text("update item set data = :d where id = 1"), {"d": Json([1])})
    op.alter_column("item", "name", type_=sa.Text)


def downgrade() -> None:
    op.execute("delete from item where id > 9")
    op.alter_column("item", "name", type_=sa.String(40))
