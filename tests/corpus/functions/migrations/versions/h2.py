"""h2

Revision ID: h2
Revises: h1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'h2'
down_revision: str | tuple[str, ...] | None = 'h1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute(sa.text("insert into post (id, title) values (:id, :title)").bindparams(id=1, title="100% sure: yes"))
    op.get_bind().execute(sa.text("update post set slug = slug(title) where title like '100\\%%' or id = :id"), {"id": 1})
    op.get_bind().exec_driver_sql("update post set title = title || '!' where id = 1")
    op.execute("create view titled as select id, title::varchar(20) as title from post where title like '%sure%'")


def downgrade() -> None:
    op.execute("drop view titled")
    op.execute("delete from post")
