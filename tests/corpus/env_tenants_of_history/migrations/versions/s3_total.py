"""totals"""

import sqlalchemy as sa
from alembic import op

revision = "s3"
down_revision = "s2"


def upgrade():
    op.add_column("orders", sa.Column("total", sa.Numeric(10, 2)))


def downgrade():
    op.drop_column("orders", "total")
