from alembic import context
from sqlalchemy import engine_from_config, pool, text

config = context.config


def log_version(*, ctx, step, heads, run_args, **_):
    ctx.connection.execute(
        text("create table if not exists history (id serial, version text, up boolean, heads text)")
    )
    ctx.connection.execute(
        text("insert into history (version, up, heads) values (:version, :up, :heads)"),
        {"version": step.up_revision_id, "up": step.is_upgrade, "heads": ",".join(sorted(heads))},
    )


def run_migrations_offline() -> None:
    context.configure(url=config.get_main_option("sqlalchemy.url"), version_table="alembic_version")
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    connectable = engine_from_config(
        config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool
    )
    with connectable.connect() as connection:
        context.configure(
            connection=connection,
            version_table="alembic_version",
            on_version_apply=log_version,
            transaction_per_migration=True,
            template_args={"dialect": connection.dialect.name},
            opts={"unknown": True},
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
