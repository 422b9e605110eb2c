from alembic import context
from sqlalchemy import create_engine, pool, text

tenants = context.get_x_argument(as_dictionary=True)["tenants"].split("+")
engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)

with engine.connect() as connection:
    connection.execute(text("select pg_current_xact_id()"))
    for tenant in tenants:
        with connection.begin_nested(), connection.begin_nested():
            connection.execute(text(f"create schema if not exists {tenant}"))
            connection.execute(text(f"set local search_path to {tenant}"))
            context.configure(connection=connection, version_table_schema=tenant)
            context.run_migrations()
    connection.commit()
