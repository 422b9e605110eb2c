"""numbered

Revision ID: z2
Revises: z1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'z2'
down_revision: str | None = 'z1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    bind = op.get_bind()
    bind.exec_driver_sql("insert into item (id, name) values ($1, $2)", (50, "50%"))
    rows = [(51, "y"), (52, "z%s")]
    bind.exec_driver_sql("insert into item (id, name) values ($1, $2)", rows)
    found = bind.exec_driver_sql("select name from item where id = $2 and name like $1", ("5%", 50))
    assert found.scalar_one() == "50%"
    op.execute("alter table item alter name set default '$1'")


def downgrade() -> None:
    op.execute("alter table item alter name drop default")
    op.execute("delete from item where id > 2")
