"""h1

Revision ID: h1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'h1'
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute('''
        create function slug(title text) returns text language plpgsql as $$
        declare result text := lower(title);
        begin
            -- 100% of it: no \:param and no %(name)s
            result := regexp_replace(result, '[^a-z0-9%:]+', '-', 'g');
            raise notice 'slug of % is %', title, result;
            return result;
        end $$
    ''')
    op.create_table("post", sa.Column("id", sa.Integer, primary_key=True), sa.Column("title", sa.Text), sa.Column("slug", sa.Text))


def downgrade() -> None:
    op.drop_table("post")
    op.execute("drop function slug(text)")
