"""Alembic's extensions in a project: who uses one has its proposals, who does not has ours."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.support.desk import Desk
from tests.support.servers import missing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Database

MODELS = """
import sqlalchemy as sa
{imports}

metadata = sa.MetaData()
sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("mood", sa.Enum({values}, name="mood"), server_default="sad"),
)
"""
ENV = """
from alembic import context
from sqlalchemy import engine_from_config, pool
from shop import metadata
{imports}
section = context.config.get_section(context.config.config_ini_section)
engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
PACKAGE = "import alembic_postgresql_enum"


@pytest.fixture
def desk(tmp_path: Path, database: Database) -> Desk:
    """A project after `init`, without models."""
    made = Desk(tmp_path, database)
    made.run("init", "--models", "shop:metadata")
    return made


def write_models(desk: Desk, *values: str, imports: str = "") -> None:
    """Write models with an enum type."""
    text = MODELS.format(values=", ".join(map(repr, values)), imports=imports)
    (desk.directory / "shop.py").write_text(text)


def revisions(desk: Desk) -> str:
    """Return the text of all revisions."""
    return "\n".join(file.read_text() for file in desk.directory.glob("migrations/versions/*.py"))


@pytest.mark.parametrize("where", ["models", "env.py"])
def test_the_enum_package_takes_over_where_it_is_imported(desk: Desk, where: str) -> None:
    """It creates the type, adds values and takes them out, which we would not."""
    beside, in_env = (PACKAGE, "") if where == "models" else ("", PACKAGE)
    if in_env:
        (desk.directory / "migrations/env.py").write_text(ENV.format(imports=in_env))
    write_models(desk, "sad", "glad", imports=beside)
    assert "create enum mood" in desk.run("generate", "-m", "first")
    write_models(desk, "sad", "glad", "calm", imports=beside)
    assert "add enum values mood" in desk.run("generate", "-m", "more")
    desk.run("upgrade")
    desk.database.execute("insert into people (mood) values ('glad')")
    write_models(desk, "sad", "glad", imports=beside)
    assert "op.sync_enum_values" not in desk.run("generate", "-m", "fewer")
    assert "sync_enum_values" in revisions(desk)
    assert "ALTER TYPE mood ADD VALUE" not in revisions(desk)
    desk.run("upgrade")
    assert desk.database.rows("select mood::text from people") == [("glad",)]
    assert desk.database.rows("select enum_range(null::mood)::text") == [("{sad,glad}",)]
    assert "nothing to write" in desk.run("generate", "-m", "nothing")
    assert "no difference" in desk.run("diff")
    told = desk.run("check", "--gate", "--only", "models", "--only", "round-trip")
    assert told.count("ok ") == 3
    desk.run("rollback", "--to", "base", "--yes", "--allow-data-loss")
    assert desk.database.rows("select count(*) from pg_type where typname = 'mood'") == [(0,)]


def test_the_enum_package_is_left_alone_where_it_is_only_installed(desk: Desk) -> None:
    """Values are added in their place, without a rewrite; those that are gone are told."""
    # Looked for, not imported: that would hand the enum types of later tests over to it.
    if find_spec("alembic_postgresql_enum") is None:
        missing("package alembic-postgresql-enum")
    write_models(desk, "sad", "glad")
    desk.run("generate", "-m", "first")
    write_models(desk, "sad", "calm", "glad")
    desk.run("generate", "-m", "more")
    assert "ADD VALUE IF NOT EXISTS 'calm' AFTER 'sad'" in revisions(desk)
    assert "nothing to write" in desk.run("generate", "-m", "nothing")
    write_models(desk, "sad", "glad")
    told = desk.run("generate", "-m", "fewer")
    assert "enum mood has values that the models lack: calm" in told
    assert "sync_enum_values" not in revisions(desk)


def test_push_refuses_what_the_enum_package_only_writes(desk: Desk) -> None:
    """It says what to use instead."""
    write_models(desk, "sad", "glad", imports=PACKAGE)
    told = desk.run("push", "--yes", code=2)
    assert "push cannot create enum mood" in told
    assert "automigrate generate" in told


ENTITIES = """
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_trigger import PGTrigger
from alembic_utils.pg_view import PGView
from alembic_utils.replaceable_entity import register_entities

lower = PGFunction(schema="public", signature="lower_mood()", definition='''
returns trigger language plpgsql as $$
begin new.id = new.id * {factor}; return new; end $$''')
moods = PGView(schema="public", signature="moods", definition="select mood from people")
trigger = PGTrigger(
    schema="public", signature="lowers", on_entity="public.people",
    definition="before insert on public.people for each row execute function public.lower_mood()",
)
register_entities([{registered}])
"""


def write_entities(desk: Desk, *registered: str, factor: int = 1) -> None:
    """Write an env.py that registers a function, a view and a trigger."""
    imports = ENTITIES.format(registered=", ".join(registered), factor=factor)
    (desk.directory / "migrations/env.py").write_text(ENV.format(imports=imports))


def test_entities_of_alembic_utils_are_proposed_applied_and_undone(desk: Desk) -> None:
    """Function, view and trigger, and a changed function; the gate is green, the way back works."""
    write_models(desk, "sad", "glad")
    write_entities(desk)
    desk.run("generate", "-m", "first")
    everything = ("lower", "moods", "trigger")
    write_entities(desk, *everything)
    told = desk.run("generate", "-m", "entities")
    for entity in ("function public.lower_mood()", "view public.moods", "trigger public.lowers"):
        assert f"create {entity}" in told
    desk.run("upgrade")
    desk.database.execute("insert into people (id) values (7)")
    assert desk.database.rows("select mood::text from moods") == [("sad",)]
    assert "nothing to write" in desk.run("generate", "-m", "nothing")
    assert "no difference" in desk.run("diff")
    write_entities(desk, *everything, factor=10)
    assert "replace function public.lower_mood()" in desk.run("generate", "-m", "by ten")
    desk.run("upgrade")
    desk.database.execute("insert into people (id) values (7)")
    assert desk.database.rows("select max(id) from people") == [(70,)]
    told = desk.run("check", "--gate", "--only", "models", "--only", "round-trip")
    assert told.count("ok ") == 3
    desk.run("rollback", "--to", "base", "--yes", "--allow-data-loss")
    assert desk.database.rows("select to_regclass('moods')::text") == [(None,)]


def test_an_entity_over_a_table_that_is_not_there_is_told(desk: Desk) -> None:
    """The package asks the server about it; the text says what to do first."""
    write_models(desk, "sad", "glad")
    write_entities(desk, "moods")
    told = desk.run("generate", "-m", "first", code=3)
    assert 'cannot be compared: relation "people" does not exist' in told
    assert "generate that one first" in told
    desk.run("new", "-m", "nothing yet")
    gate = desk.run("check", "--gate", "--only", "models", code=3)
    assert "[no-comparison]" in gate
