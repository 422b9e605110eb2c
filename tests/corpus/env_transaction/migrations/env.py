from alembic import context
from sqlalchemy import create_engine, pool, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)


def run_migrations_online() -> None:
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction() as transaction:
            try:
                context.execute("set search_path to public")
                context.run_migrations()
                connection.execute(text("comment on schema public is 'migrated'"))
            except Exception:
                transaction.rollback()
                raise
            transaction.commit()


run_migrations_online()
