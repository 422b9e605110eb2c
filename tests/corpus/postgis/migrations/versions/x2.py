"""x2

Revision ID: x2
Revises: x1
Create Date: 2026-01-01 00:00:00.000000

"""
import geoalchemy2
import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography, Geometry

revision = "x2"
down_revision = "x1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_geospatial_table(
        "place",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("point", Geometry("POINT", srid=4326, spatial_index=False), nullable=False),
        sa.Column("area", Geography("POLYGON", srid=4326, spatial_index=False)),
    )
    op.create_geospatial_index("idx_place_point", "place", ["point"], postgresql_using="gist")
    op.create_table(
        "route",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("line", geoalchemy2.types.Geometry("LINESTRING", srid=3857)),
    )


def downgrade() -> None:
    op.drop_table("route")
    op.drop_geospatial_index("idx_place_point", "place", column_name="point")
    op.drop_geospatial_table("place")
