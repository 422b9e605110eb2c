"""g3

Revision ID: g3
Revises: g2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'g3'
down_revision: str | tuple[str, ...] | None = 'g2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        return
    bind = op.get_bind()
    columns = {column["name"] for column in sa.inspect(bind).get_columns("run")}
    if "owner" not in columns:
        op.add_column("run", sa.Column("owner", sa.Text))
    with bind.begin_nested():
        bind.execute(sa.text("insert into run (id, name) values (1, 'first')"))


def downgrade() -> None:
    op.drop_column("run", "owner")
    op.execute("delete from run")
