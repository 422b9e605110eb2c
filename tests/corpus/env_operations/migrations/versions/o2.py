from alembic import op

revision = "o2"
down_revision = "o1"


def upgrade():
    op.execute("create table second ()")


def downgrade():
    op.execute("drop table second")
