"""Index the orders by product, while they can still be written.

Revision ID: 0004_index_orders
Revises: 0003_order_totals
"""

from alembic import op

revision = "0004_index_orders"
down_revision = "0003_order_totals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_orders_product_id", "orders", ["product_id"], postgresql_concurrently=True
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("ix_orders_product_id", postgresql_concurrently=True)
