"""33aa

Revision ID: 33aa
Revises: 2f1b3c
Create Date: 2026-01-01 00:00:00.000000

"""
import sqlalchemy as sa
from alembic import op

revision = '33aa'
down_revision = '2f1b3c'
branch_labels = None
depends_on = None

revision = "".join(("33", "aa"))


def upgrade():
    op.create_index("ix_legacy_data", "legacy", [sa.text("md5(data)")])
