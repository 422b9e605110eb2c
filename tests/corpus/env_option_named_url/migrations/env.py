from alembic import context
from sqlalchemy import create_engine, pool, text


def run_migrations_online() -> None:
    options = context.config.get_section(context.config.config_ini_section)
    url = options.pop("url")
    connectable = create_engine(url, poolclass=pool.NullPool)
    with connectable.connect() as connection:
        connection.execute(text("SET statement_timeout = 5000"))
        connection.execute(text("SET lock_timeout = 4000"))
        context.configure(
            connection=connection,
            compare_server_default=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_lock(hashtext('alembic'))"))
            context.run_migrations()
            context.get_bind().commit()
            connection.execute(text("SELECT pg_advisory_unlock(hashtext('alembic'))"))


run_migrations_online()
