from alembic import context
from sqlalchemy import create_engine, pool, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
        connection.execute(text("grant select on all tables in schema public to corpus_reader"))
        context.execute("comment on schema public is 'kept by env.py'")
        context.get_bind().execute(text("comment on table alembic_version is 'read'"))
    connection.execute(text("create table of_nobody (id integer)"))
