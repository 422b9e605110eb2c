from functools import lru_cache

from alembic import context
from sqlalchemy import Engine, create_engine, text


@lru_cache
def get_engine() -> Engine:
    url = context.config.get_main_option("sqlalchemy.url")
    return create_engine(url, pool_size=1, max_overflow=0, pool_timeout=5)


def migrate(tenant: str) -> None:
    with get_engine().connect() as connection:
        connection.execute(text(f"set search_path to {tenant}, public"))
        connection.commit()
        context.configure(
            connection=connection,
            version_table=f"version_of_{tenant}",
            version_table_schema="public",
        )
        with context.begin_transaction():
            context.run_migrations()


with get_engine().connect() as connection:
    tenants = connection.scalars(text("select name from public.tenants order by 1")).all()
for tenant in tenants:
    migrate(tenant)
