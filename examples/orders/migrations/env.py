"""Alembic's environment, as `alembic init` writes it, with the URL from the environment."""

import os

from alembic import context
from sqlalchemy import create_engine, make_url, pool

url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")


def run_migrations_offline() -> None:
    context.configure(url=url, literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
