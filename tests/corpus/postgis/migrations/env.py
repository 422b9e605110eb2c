from alembic import context
from geoalchemy2 import alembic_helpers
from sqlalchemy import MetaData, engine_from_config, pool

config = context.config


def include_object(object_, name, type_, reflected, compare_to):
    if type_ == "table" and name == "spatial_ref_sys":
        return False
    return alembic_helpers.include_object(object_, name, type_, reflected, compare_to)


connectable = engine_from_config(
    config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with connectable.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=MetaData(),
        include_object=include_object,
        process_revision_directives=alembic_helpers.writer,
        render_item=alembic_helpers.render_item,
    )
    with context.begin_transaction():
        context.run_migrations()
