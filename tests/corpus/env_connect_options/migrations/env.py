import os

from alembic import context
from sqlalchemy import create_engine, event, text

schema = os.environ["SHOP_SCHEMA"]
config = context.config
engine = create_engine(
    config.get_main_option("sqlalchemy.url"),
    connect_args={"options": f"-csearch_path={schema},public"},
)


@event.listens_for(engine, "connect")
def prepare(dbapi_connection, _record) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute("set work_mem = '8MB'")
    cursor.close()
    dbapi_connection.commit()


with engine.connect() as connection:
    connection.execute(text(f"create schema if not exists {schema}"))
    connection.commit()
    context.configure(connection=connection, version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()
