from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection, version_table_schema="shop")
    with context.begin_transaction():
        context.execute("create schema if not exists shop")
        context.execute("set search_path to shop")
        context.run_migrations()
