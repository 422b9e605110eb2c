from alembic import context
from sqlalchemy import create_engine, pool, text

config = context.config
current_tenant = context.get_x_argument(as_dictionary=True).get("tenant")
engine = create_engine(config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    connection.execute(text('create schema if not exists "%s"' % current_tenant))
    connection.execute(text('set search_path to "%s"' % current_tenant))
    connection.commit()
    connection.dialect.default_schema_name = current_tenant
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
