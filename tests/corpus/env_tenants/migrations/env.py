import asyncio
import logging

from alembic import context
from sqlalchemy import pool, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

config = context.config
logger = logging.getLogger(__name__)


def get_schema_options() -> tuple[list[str], bool]:
    x_args = {}
    for arg in context.get_x_argument():
        for pair in arg.split(","):
            if "=" in pair:
                key, value = pair.split("=", 1)
                x_args[key.strip()] = value.strip()
    return x_args["tenants"].split("+"), x_args.get("continue") == "true"


def do_run_migrations(connection: Connection, schema_name: str) -> None:
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema_name}"'))
    connection.execute(text("COMMIT"))
    connection.execute(text(f'SET search_path TO "{schema_name}"'))
    context.configure(
        connection=connection,
        version_table_schema=schema_name,
        include_schemas=True,
        compare_type=True,
        script_location=config.get_main_option("script_location"),
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_async_migrations() -> None:
    tenants, continue_on_error = get_schema_options()
    engine = create_async_engine(
        config.get_main_option("sqlalchemy.url").replace("+psycopg:", "+asyncpg:"),
        poolclass=pool.NullPool,
    )
    for schema in tenants:
        try:
            async with engine.connect() as connection:
                await connection.run_sync(do_run_migrations, schema_name=schema)
        except Exception as error:
            logger.error("Error migrating schema %s: %s", schema, error)
            if not continue_on_error:
                raise
    await engine.dispose()


asyncio.run(run_async_migrations())
