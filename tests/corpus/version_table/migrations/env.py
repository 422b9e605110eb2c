from alembic import context
from sqlalchemy import create_engine, text

SCHEMA = "meta"

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    connection.execute(text(f"create schema if not exists {SCHEMA}"))
    connection.commit()
    context.configure(
        connection=connection,
        version_table="shop_revision",
        version_table_schema=SCHEMA,
        version_table_pk=False,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
