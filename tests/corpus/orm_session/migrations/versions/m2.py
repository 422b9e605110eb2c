"""m2

Revision ID: m2
Revises: m1
Create Date: 2026-01-01 00:00:00.000000

"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import orm
from sqlalchemy.orm import declarative_base

revision: str = 'm2'
down_revision: str | tuple[str, ...] | None = 'm1'
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

Base = declarative_base()


class Member(Base):
    __tablename__ = "member"

    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.Text)
    level = sa.Column(sa.Integer)


def upgrade() -> None:
    session = orm.Session(bind=op.get_bind())
    session.add_all([Member(name=name) for name in ("ada", "grace")])
    session.commit()
    for member in session.query(Member).order_by(Member.id):
        member.level = member.id * 10
    session.flush()
    session.commit()
    session.close()


def downgrade() -> None:
    op.execute("delete from member")
