"""Keep the total in each order, and fill it for those that exist.

Revision ID: 0003_order_totals
Revises: 0002_import_orders
"""

import sqlalchemy as sa
from alembic import op

revision = "0003_order_totals"
down_revision = "0002_import_orders"
branch_labels = None
depends_on = None

FILL = """\
update orders set total_cents = orders.quantity * products.price_cents
from products where products.id = orders.product_id"""


def upgrade() -> None:
    op.add_column("orders", sa.Column("total_cents", sa.Integer))
    op.execute(FILL)
    op.alter_column("orders", "total_cents", nullable=False)


def downgrade() -> None:
    op.drop_column("orders", "total_cents")
