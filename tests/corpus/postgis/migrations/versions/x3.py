"""x3

Revision ID: x3
Revises: x2
Create Date: 2026-01-01 00:00:00.000000

"""
import geoalchemy2
import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography, Geometry

revision = "x3"
down_revision = "x2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    place = sa.table("place", sa.column("id"), sa.column("point", Geometry("POINT", srid=4326)))
    op.bulk_insert(place, [{"id": 1, "point": "SRID=4326;POINT(1 2)"}])
    op.execute(place.insert().values(id=2, point=sa.func.ST_SetSRID(sa.func.ST_MakePoint(3, 4), 4326)))
    rows = op.get_bind().execute(sa.select(place.c.id, sa.func.ST_X(place.c.point)).order_by("id"))
    assert rows.all() == [(1, 1.0), (2, 3.0)]
    op.execute(
        "alter table route alter column line type geometry(linestring, 4326)"
        " using st_transform(line, 4326)"
    )
    op.add_geospatial_column("route", sa.Column("start", Geometry("POINT", srid=4326)))
    with op.get_context().autocommit_block():
        op.execute("create index concurrently route_box on route using gist (st_envelope(line))")


def downgrade() -> None:
    op.execute("drop index route_box")
    op.drop_geospatial_column("route", "start")
    op.execute(
        "alter table route alter column line type geometry(linestring, 3857)"
        " using st_transform(line, 3857)"
    )
    op.execute("delete from place")
