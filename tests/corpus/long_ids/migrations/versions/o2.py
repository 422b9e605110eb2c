"""20260101 0002 a revision id that says in words what it does to the tables of x y

Revision ID: 20260101_0002_a_revision_id_that_says_in_words_what_it_does_to_the_tables_of_x_y
Revises: 20260101_0001_a_revision_id_that_says_in_words_what_it_does_to_the_tables_of_x_y
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = '20260101_0002_a_revision_id_that_says_in_words_what_it_does_to_the_tables_of_x_y'
down_revision: str | tuple[str, ...] | None = '20260101_0001_a_revision_id_that_says_in_words_what_it_does_to_the_tables_of_x_y'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.add_column("o", sa.Column("b", sa.Integer))


def downgrade() -> None:
    op.drop_column("o", "b")
