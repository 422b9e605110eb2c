"""Give orders a state."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "orders", sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'new'"))
    )


def downgrade() -> None:
    op.drop_column("orders", "state")
