"""2f1b3c

Revision ID: 2f1b3c
Revises: 1975ea83b712
Create Date: 2026-01-01 00:00:00.000000

"""
import sqlalchemy as sa
from alembic import op

revision = '2f1b3c'
down_revision = '1975ea83b712'
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("legacy", sa.Column("data", sa.PickleType(), nullable=True))
