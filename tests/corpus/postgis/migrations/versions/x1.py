"""x1

Revision ID: x1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
import geoalchemy2
import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography, Geometry

revision = "x1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("create extension if not exists postgis")


def downgrade() -> None:
    op.execute("drop extension postgis")
