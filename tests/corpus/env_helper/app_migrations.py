from alembic import context
from sqlalchemy import engine_from_config, pool, text


def run() -> None:
    config = context.config
    engine = engine_from_config(
        config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool
    )
    with engine.connect() as connection:
        connection.execute(text("select version()"))
        context.configure(connection=connection, version_table="app_version")
        with context.begin_transaction():
            context.run_migrations()
        if connection.in_transaction():
            connection.commit()
