"""w2

Revision ID: w2
Revises: w1
Create Date: 2026-01-01 00:00:00.000000

"""
import sqlalchemy as sa
from alembic import op
from tenancy import for_each_tenant

revision = "w2"
down_revision = "w1"
branch_labels = None
depends_on = None


@for_each_tenant
def upgrade(schema: str) -> None:
    op.create_table("bill", sa.Column("id", sa.Integer, primary_key=True), schema=schema)
    op.create_index("bill_id", "bill", ["id"], schema=schema)


@for_each_tenant
def downgrade(schema: str) -> None:
    op.drop_table("bill", schema=schema)
