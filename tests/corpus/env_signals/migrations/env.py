import signal

import application
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)


def give_up(number: int, frame: object) -> None:
    raise TimeoutError("the migrations took too long")


before = signal.signal(signal.SIGALRM, give_up)
signal.alarm(120)
try:
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    signal.signal(signal.SIGTERM, application.previous)
