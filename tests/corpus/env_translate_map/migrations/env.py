from alembic import context
from sqlalchemy import create_engine, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    connection.execute(text("create schema if not exists tenant"))
    connection.commit()
    connection = connection.execution_options(schema_translate_map={"per_tenant": "tenant"})
    context.configure(connection=connection, version_table_schema="tenant")
    with context.begin_transaction():
        context.run_migrations()
