"""h3

Revision ID: h3
Revises: h2
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'h3'
down_revision: str | tuple[str, ...] | None = 'h2'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute('''
        create function touch() returns trigger as $body$
        begin new.slug := slug(new.title); return new; end
        $body$ language plpgsql;
        create trigger post_touch before insert or update on post for each row execute function touch();
    ''')
    conn = op.get_bind()
    conn.execute(sa.text("insert into post (id, title) values (:id, :title)"), [{"id": n, "title": f"t{n}"} for n in (2, 3)])
    assert conn.execute(sa.text("select count(*) from post where slug is not null")).scalar() == 3


def downgrade() -> None:
    op.execute("drop trigger post_touch on post")
    op.execute("drop function touch()")
