"""1975ea83b712

Revision ID: 1975ea83b712
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
import sqlalchemy as sa
from alembic import op

revision = '1975ea83b712'
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    op.create_table("legacy", sa.Column("id", sa.Integer(), nullable=False), sa.PrimaryKeyConstraint("id"))
