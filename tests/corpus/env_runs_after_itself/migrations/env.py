from alembic import context
from sqlalchemy import create_engine, pool, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with connection.begin():
        context.run_migrations()
        connection.execute(text("create or replace view heads as table alembic_version"))
with engine.begin() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
    context.execute("comment on view heads is 'kept by env.py'")
