"""w1

Revision ID: w1
Revises: 
Create Date: 2026-01-01 00:00:00.000000

"""
import sqlalchemy as sa
from alembic import op


revision = "w1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    tenant = op.create_table("tenant", sa.Column("name", sa.Text, primary_key=True))
    op.bulk_insert(tenant, [{"name": "acme"}, {"name": "Big Corp"}])
    for name in ("acme", "Big Corp"):
        op.execute(sa.schema.CreateSchema(name))


def downgrade() -> None:
    op.execute(sa.schema.DropSchema("acme"))
    op.execute(sa.schema.DropSchema("Big Corp"))
    op.drop_table("tenant")
