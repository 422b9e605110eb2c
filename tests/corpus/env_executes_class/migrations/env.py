from alembic import context
from sqlalchemy import engine_from_config, event, pool
from sqlalchemy.engine import Engine


@event.listens_for(Engine, "do_execute")
@event.listens_for(Engine, "do_execute_no_params")
def execute(cursor, statement, *others):
    if not statement.startswith("CREATE INDEX"):
        return False
    cursor.execute(statement.replace("CREATE INDEX", "CREATE UNIQUE INDEX"))
    return True


config = context.config
connectable = engine_from_config(
    config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with connectable.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
