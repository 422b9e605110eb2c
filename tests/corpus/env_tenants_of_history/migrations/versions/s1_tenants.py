"""the table of tenants, and two of them"""

import sqlalchemy as sa
from alembic import op

revision = "s1"
down_revision = None


def upgrade():
    if is_shared():
        tenant = op.create_table("tenant", sa.Column("schema_name", sa.String, primary_key=True))
        op.bulk_insert(tenant, [{"schema_name": "acme"}, {"schema_name": "umbrella"}])


def downgrade():
    pass


def is_shared():
    return op.get_bind().scalar(sa.text("select current_schema()")) == "public"
