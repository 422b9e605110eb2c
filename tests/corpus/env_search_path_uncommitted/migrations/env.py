from alembic import context
from sqlalchemy import create_engine, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.begin() as connection:
    context.configure(connection=connection)
    connection.execute(text("create schema if not exists shop"))
    connection.execute(text("set local search_path to shop"))
    context.run_migrations()
