from alembic import op

revision = "o3"
down_revision = "o2"


def upgrade():
    op.create_table_once("third")


def downgrade():
    op.execute("drop table third")
