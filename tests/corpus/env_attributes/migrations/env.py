import asyncio

from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

config = context.config


def run_migrations(connection) -> None:
    connection.execute(__import__("sqlalchemy").text("select 1"))
    connection.commit()
    context.configure(connection=connection, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


async def run_async_migrations() -> None:
    engine = create_async_engine(config.get_main_option("sqlalchemy.url"))
    async with engine.connect() as connection:
        await connection.run_sync(run_migrations)
    await engine.dispose()


connection = config.attributes.get("connection", None)
if connection is None:
    asyncio.run(run_async_migrations())
else:
    run_migrations(connection)
