import json

from alembic import context
from sqlalchemy import create_engine


def dumps(value):
    return json.dumps(value, default=str)


engine = create_engine(context.config.get_main_option("sqlalchemy.url"), json_serializer=dumps)
with engine.begin() as connection:
    connection.info["column"] = "colour"
    context.configure(connection=connection)
    context.run_migrations()
