from alembic import op

revision = "o1"
down_revision = None


def upgrade():
    op.create_table_once("first")


def downgrade():
    op.execute("drop table first")
