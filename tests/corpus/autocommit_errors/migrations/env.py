from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    context.configure(connection=connection)
    with context.begin_transaction():
        before = context.get_context().get_current_heads()
        context.run_migrations()
        print(before, "->", context.get_context().get_current_heads())
