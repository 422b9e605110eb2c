from logging.config import fileConfig
from pathlib import Path

import alembic
import shop_settings
from alembic import context
from sqlalchemy import MetaData, create_engine, pool, text

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)

command = config.cmd_opts.cmd[0].__name__
assert command in {"upgrade", "downgrade"}, command
assert config.cmd_opts.name == config.config_ini_section == "warehouse"
assert config.cmd_opts.sql is False
assert not getattr(config.cmd_opts, "autogenerate", False)

assert context.get_x_argument() == ["region=eu", "dry=1"]
assert context.get_x_argument(as_dictionary=True)["region"] == "eu"
assert context.get_tag_argument() is None
assert context.get_revision_argument() in (
    context.get_head_revision(),
    context.get_head_revisions(),
    "heads",
    "base",
    None,
    *(script.revision for script in context.script.walk_revisions()),
)
assert not context.is_offline_mode()
assert Path(context.script.dir).name == "migrations"

section = config.get_section("settings of the shop")
assert Path(section["place"]) == Path(config.config_file_name).absolute().parent
assert config.get_section_option("settings of the shop", "limit") == "50%"
assert config.get_main_option("file_template").startswith("%(year)d")
assert config.get_main_option("no_such_option", "a default") == "a default"
assert config.get_section("no such section", {}) == {}
assert config.attributes.get("connection") is None
assert shop_settings.ready.is_set()
config.print_stdout("migrating the %s schema", section["schema"])

target_metadata = [MetaData(), MetaData(schema=section["schema"])]
engine = create_engine(
    config.get_main_option("sqlalchemy.url"),
    poolclass=pool.NullPool,
    connect_args={"application_name": section["schema"]},
)


def include_object(object_, name, type_, reflected, compare_to):
    return name != "spatial_ref_sys"


def include_name(name, type_, parent_names):
    return type_ != "schema" or name in {None, section["schema"]}


def process_revision_directives(context_, revision, directives):
    raise AssertionError("nothing is generated")


with engine.connect() as connection:
    connection.execute(text(f"create schema if not exists {section['schema']}"))
    connection.commit()
    alembic.context.configure(
        connection=connection,
        target_metadata=target_metadata,
        version_table="stock_versions",
        version_table_schema=section["schema"],
        version_table_pk=False,
        include_schemas=True,
        include_object=include_object,
        include_name=include_name,
        compare_type=lambda *_: None,
        compare_server_default=True,
        render_as_batch=True,
        render_item=lambda *_: False,
        user_module_prefix="shop.",
        sqlalchemy_module_prefix="sa.",
        literal_binds=False,
        transactional_ddl=True,
        upgrade_token="ups",
        downgrade_token="downs",
        process_revision_directives=process_revision_directives,
        script_location=config.get_main_option("script_location"),
        an_option_of_our_own=1,
    )
    assert context.get_context().opts["an_option_of_our_own"] == 1
    assert context.get_bind().dialect.name == "postgresql"
    with context.begin_transaction() as transaction:
        context.execute("set local search_path to stock, public")
        context.run_migrations()
