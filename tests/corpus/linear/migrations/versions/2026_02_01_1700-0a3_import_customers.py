"""0a3

Revision ID: 0a3
Revises: 0a2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = '0a3'
down_revision: str | tuple[str, ...] | None = '0a2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    customer = sa.table("customer", sa.column("email", sa.Text))
    op.bulk_insert(customer, [{"email": f"{name}@example.org"} for name in ("ada", "grace")])
    op.execute(
        sa.text('insert into "order" (customer_id, total) select id, :total from customer').bindparams(total=5)
    )


def downgrade() -> None:
    op.execute('delete from "order"')
    op.execute("delete from customer")
