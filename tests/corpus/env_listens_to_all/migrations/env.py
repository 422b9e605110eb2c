from alembic import context
from sqlalchemy import engine_from_config, event, pool
from sqlalchemy.engine import Engine


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def rewrite(connection, cursor, statement, parameters, execution, executemany):
    return statement.replace("CREATE INDEX", "CREATE UNIQUE INDEX"), parameters


@event.listens_for(Engine, "after_cursor_execute")
def comment(connection, cursor, statement, parameters, execution, executemany):
    if statement.split()[:2] == ["CREATE", "TABLE"]:
        connection.exec_driver_sql(f"comment on table {statement.split()[2]} is 'heard'")


config = context.config
connectable = engine_from_config(
    config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with connectable.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
