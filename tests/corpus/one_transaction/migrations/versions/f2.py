"""f2

Revision ID: f2
Revises: f1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = 'f2'
down_revision: str | tuple[str, ...] | None = 'f1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("person", sa.Column("mood", sa.Text))
    with op.get_context().autocommit_block():
        op.execute("alter type mood add value 'happy'")
        op.create_index("ix_person_name", "person", ["name"], postgresql_concurrently=True, if_not_exists=True)
    op.execute("alter table person alter column mood type mood using mood::mood")
    op.execute("insert into person (name, mood) values ('ada', 'happy')")


def downgrade() -> None:
    op.drop_index("ix_person_name")
    op.drop_column("person", "mood")
    op.execute("delete from person")
    op.execute("drop type mood")
    op.execute("create type mood as enum ('sad', 'ok')")
