from alembic import context
from sqlalchemy import create_engine, pool, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)


def migrate(schema: str) -> None:
    with engine.connect() as connection:
        connection.execute(text(f'create schema if not exists "{schema}"'))
        connection.execute(text(f'set search_path to "{schema}"'))
        connection.commit()
        context.configure(connection=connection, version_table_schema=schema)
        with context.begin_transaction():
            context.run_migrations()


migrate("public")
with engine.connect() as connection:
    tenants = connection.scalars(text("select schema_name from public.tenant order by 1")).all()
for tenant in tenants:
    migrate(tenant)
