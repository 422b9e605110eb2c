from alembic import context
from sqlalchemy import create_engine, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    connection.execute(text("create schema if not exists shop"))
    connection.execute(text("set search_path to shop, public"))
    connection.commit()
    context.configure(connection=connection, include_schemas=True)
    with context.begin_transaction():
        context.run_migrations()
