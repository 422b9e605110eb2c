"""w3

Revision ID: w3
Revises: w2
Create Date: 2026-01-01 00:00:00.000000

"""
import sqlalchemy as sa
from alembic import op


revision = "w3"
down_revision = "w2"
branch_labels = None
depends_on = None

calls = []


def counted(function):
    def run() -> None:
        calls.append(function)
        assert op.get_bind().scalar(sa.text("select count(*) from tenant")) == 2
        function(f"call_{len(calls)}")

    return run


@counted
def upgrade(name: str) -> None:
    op.create_table(name, sa.Column("id", sa.Integer, primary_key=True))


def drop(name: str) -> None:
    op.drop_table(name)


downgrade = counted(drop)
