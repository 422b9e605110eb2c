"""Import the orders of the old shop.

Revision ID: 0002_import_orders
Revises: 0001_create_shop
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_import_orders"
down_revision = "0001_create_shop"
branch_labels = None
depends_on = None

PRODUCTS = [
    {"id": 1, "name": "tea", "price_cents": 450},
    {"id": 2, "name": "coffee", "price_cents": 620},
    {"id": 3, "name": "cocoa", "price_cents": 510},
]
IMPORT = """\
insert into orders (product_id, quantity)
select 1 + n % 3, 1 + n % 5 from generate_series(1, 20000) as n"""


def upgrade() -> None:
    products = sa.table("products", sa.column("id"), sa.column("name"), sa.column("price_cents"))
    op.bulk_insert(products, PRODUCTS)
    op.execute(IMPORT)


def downgrade() -> None:
    op.execute("delete from orders")
    op.execute("delete from products")
