"""Revisions from models: what is written, and that it makes what the models say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError, MultipleHeadsError, ScriptError
from automigrate.workflow import comparison
from automigrate.workflow.fingerprint import changes, fingerprint
from automigrate.workflow.gate import Gate
from automigrate.workflow.generate import generate
from automigrate.workflow.rehearsal import Rehearsal
from automigrate.workflow.revisions import merge, new
from automigrate.workflow.scratch import Scratch
from tests.support.workflow import Workbench, benches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer
    from automigrate.workflow.renames import Candidate
    from tests.support.servers import Database

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
}


@pytest.fixture
def bench(tmp_path: Path, server: EmbeddedServer) -> Iterator[Workbench]:
    """An empty project."""
    yield from benches(tmp_path, server)


def people(*columns: sa.Column[Any] | sa.Index, name: str = "people") -> sa.MetaData:
    """Return models of one table with a key, a name and more."""
    models = sa.MetaData(naming_convention=NAMES)
    sa.Table(name, models, sa.Column("id", sa.Integer, primary_key=True), *columns)
    return models


def column(name: str) -> sa.Column[Any]:
    """Return a column of texts."""
    return sa.Column(name, sa.Text)


def renamable(mood: str, other: sa.Table, *columns: sa.Column[Any]) -> sa.MetaData:
    """Return models with a table, an enum type and another table."""
    models = people(*columns, sa.Column("mood", sa.Enum("happy", mood, name="mood")))
    other.to_metadata(models)
    return models


def test_an_empty_difference_writes_nothing(bench: Workbench) -> None:
    """Models that the scripts already make lead to no file."""
    bench.generate(people())
    before = sorted(bench.directory.rglob("*"))
    assert bench.generate(people()).files == ()
    assert sorted(bench.directory.rglob("*")) == before


def test_a_developers_database_is_not_looked_at(bench: Workbench, database: Database) -> None:
    """Revisions are compared with the scripts, whatever somebody has tried out in a database."""
    bench.generate(people())
    bench.upgrade(database)
    database.execute("alter table people add tried text; create table tried (id integer)")
    models = people(sa.Column("name", sa.Text))
    url = DatabaseURL.parse(database.url)
    before = database.dump_schema()
    project, scratch = bench.project, Scratch(url)
    try:
        rehearsal = Rehearsal(
            project, scratch.database(), models=[models], configured=comparison.configured()
        )
        made = generate(project, rehearsal, "names")
    finally:
        scratch.drop_all()
    assert made.operations == ("add column people.name TEXT",)
    assert database.dump_schema() == before


def test_the_journal_is_not_taken_for_a_table_to_drop(bench: Workbench, database: Database) -> None:
    """A database that automigrate has upgraded has no differences because of its journal."""
    bench.generate(people())
    bench.upgrade(database)
    assert database.rows("select count(*) from automigrate_journal") == [(1,)]
    assert bench.differences(database, people()) == []


def test_a_renamed_column_keeps_its_data(bench: Workbench, database: Database) -> None:
    """`renames` turns drop and add into a rename, and nothing else remains to be done."""
    bench.generate(people(sa.Column("name", sa.Text, index=True)))
    bench.upgrade(database)
    database.execute("insert into people (name) values ('Ada')")
    models = people(sa.Column("full_name", sa.Text, index=True))
    made = bench.generate(models, renames=["people.name:full_name"])
    assert made.losses == ()
    bench.upgrade(database)
    assert database.rows("select full_name from people") == [("Ada",)]
    assert bench.differences(database, models) == []
    assert "ALTER INDEX ix_people_name RENAME TO ix_people_full_name" in bench.text()


def test_a_renamed_table_keeps_its_data(bench: Workbench, database: Database) -> None:
    """Table, column and index get their new names in one revision."""
    bench.generate(people(sa.Column("name", sa.Text, index=True)))
    bench.upgrade(database)
    database.execute("insert into people (name) values ('Ada')")
    models = people(sa.Column("full_name", sa.Text, index=True), name="persons")
    bench.generate(models, renames=["people:persons", "persons.name:full_name"])
    bench.upgrade(database)
    assert database.rows("select full_name from persons") == [("Ada",)]
    assert bench.differences(database, models) == []


def test_what_may_be_a_rename_is_refused_when_nobody_can_be_asked(bench: Workbench) -> None:
    """Without an answer nothing is written, and the text says how to answer."""
    bench.generate(people(sa.Column("name", sa.Text)))
    before = bench.text()
    with pytest.raises(ConfigurationError, match="--rename people.name:people.full_name") as error:
        bench.generate(people(sa.Column("full_name", sa.Text)))
    assert "--drop people.name" in str(error.value)
    assert bench.text() == before


def test_a_person_is_asked_about_a_rename(bench: Workbench, database: Database) -> None:
    """What the person answers is done."""
    bench.generate(people(sa.Column("name", sa.Text)))
    asked: list[Candidate] = []

    def ask(candidate: Candidate) -> str:
        asked.append(candidate)
        return candidate.old[0]

    bench.generate(people(sa.Column("full_name", sa.Text)), ask=ask)
    assert [(item.new, item.old) for item in asked] == [("people.full_name", ("people.name",))]
    bench.upgrade(database)
    assert "full_name" in database.dump_schema()
    assert "new_column_name='full_name'" in bench.text()


def test_the_likeliest_rename_is_offered_first(bench: Workbench) -> None:
    """The more alike the names, the earlier; so does the text that proposes a --rename."""
    bench.generate(people(column("mail"), column("name"), column("note")))
    asked: list[Candidate] = []
    models = people(column("email"), column("full_name"))
    bench.generate(models, ask=asked.append)
    assert [(item.new, item.old) for item in asked] == [
        ("people.email", ("people.mail", "people.name", "people.note")),
        ("people.full_name", ("people.name", "people.note", "people.mail")),
    ]


def test_a_declared_drop_is_a_drop_and_warns_of_the_loss(bench: Workbench) -> None:
    """`drops` answers the question the other way; the loss is told."""
    bench.generate(people(sa.Column("name", sa.Text)))
    made = bench.generate(people(sa.Column("nick", sa.Text)), drops=["people.name"])
    assert made.losses == ("drops column people.name with its values",)
    assert "op.drop_column('people', 'name')" in bench.text()


SLIPS: list[tuple[dict[str, Any], str]] = [
    (
        {"renames": ["people.nmae:nick"]},
        """\
--rename people.nmae:nick names people.nmae, which is not gone. What is gone: people.name, \
people.mail, person, mood.sad.""",
    ),
    (
        {"renames": ["people.name:nik"]},
        """\
--rename people.name:nik names people.nik, which is not new in the models. What is new: \
people.nick.""",
    ),
    (
        {"drops": ["people.mial"]},
        """\
--drop people.mial names people.mial, which is not gone. What is gone: people.mail, people.name, \
person, mood.sad.""",
    ),
    (
        {"renames": ["mood.sad:color.blue"]},
        """\
--rename mood.sad:color.blue names mood.color.blue, which is not new in the models. What is new: \
mood.blue.""",
    ),
    (
        {"renames": ["people.name:nick", "people.mail:nick"]},
        "--rename gives the name people.nick to people.name and to people.mail.",
    ),
]


def test_a_misspelt_answer_is_told_before_any_question(bench: Workbench) -> None:
    """What --rename or --drop misspells is refused with the names that would have been possible."""
    person, human = (sa.Table(name, sa.MetaData(), column("age")) for name in ("person", "human"))
    bench.generate(renamable("sad", person, column("name"), column("mail")))
    before, models = bench.text(), renamable("blue", human, column("nick"))

    def ask(candidate: Candidate) -> str:
        pytest.fail(f"asked about {candidate.new}")

    for given, told in SLIPS:
        with pytest.raises(ConfigurationError) as error:
            bench.generate(models, ask=ask, **given)
        assert str(error.value) == told
    assert bench.text() == before


def test_every_slip_is_told_at_once(bench: Workbench) -> None:
    """Two misspelt names are two faults; nothing gone and nothing new is said as that."""
    bench.generate(people(sa.Column("name", sa.Text)))
    with pytest.raises(ConfigurationError) as error:
        bench.generate(
            people(sa.Column("name", sa.Text)), renames=["people.nmae:x"], drops=["peple"]
        )
    assert error.value.faults == (
        "--rename people.nmae:x names people.nmae, which is not gone; nothing is.",
        "--drop peple names peple, which is not gone; nothing is.",
    )


def test_a_table_is_not_renamed_into_another_schema(bench: Workbench) -> None:
    """That is told before any question, too, with what does it."""
    bench.generate(people())
    models = sa.MetaData()
    sa.Table("people", models, sa.Column("id", sa.Integer, primary_key=True), schema="crm")
    with pytest.raises(ConfigurationError, match="ALTER TABLE … SET SCHEMA"):
        bench.generate(models, renames=["people:crm.people"])


def test_a_column_is_named_in_the_table_that_it_will_be_in(
    bench: Workbench, database: Database
) -> None:
    """Also where a person only then says that the table is a renamed one."""
    bench.generate(people(sa.Column("name", sa.Text), sa.Column("age", sa.Integer)))
    bench.upgrade(database)
    models = people(sa.Column("full_name", sa.Text), sa.Column("age", sa.Integer), name="persons")
    bench.generate(models, renames=["persons.name:full_name"], ask=lambda one: one.old[0])
    bench.upgrade(database)
    assert bench.differences(database, models) == []
    with pytest.raises(ConfigurationError, match=r"names persons\.name, which is not gone"):
        bench.generate(
            people(sa.Column("nick", sa.Text), sa.Column("age", sa.Integer), name="humans"),
            renames=["humans.full_name:nick"],
            drops=["persons.name"],
        )


def test_columns_of_unlike_types_raise_no_question(bench: Workbench) -> None:
    """A text that goes and a number that comes are a drop and an addition."""
    bench.generate(people(sa.Column("name", sa.Text)))
    made = bench.generate(people(sa.Column("age", sa.Integer)))
    assert "drop column people.name" in made.operations


def test_an_index_on_an_existing_table_is_built_concurrently(
    bench: Workbench, database: Database
) -> None:
    """It stands in an autocommit block with `if_not_exists`, and its downgrade drops it so."""
    bench.generate(people(sa.Column("name", sa.Text)))
    models = people(sa.Column("name", sa.Text, index=True))
    made = bench.generate(models)
    source = made.files[0].read_text()
    assert "with op.get_context().autocommit_block():" in source
    assert "postgresql_concurrently=True, if_not_exists=True" in source
    assert "postgresql_concurrently=True, if_exists=True" in source
    bench.upgrade(database)
    assert bench.differences(database, models) == []


def test_an_index_on_a_new_table_is_built_plainly(bench: Workbench) -> None:
    """Nobody uses a table that the same revision creates."""
    bench.generate(people(sa.Column("name", sa.Text, index=True)))
    assert "autocommit_block" not in bench.text()


def test_not_null_is_proved_before_it_is_set(bench: Workbench, database: Database) -> None:
    """The check is added NOT VALID, the next revision validates it, sets NOT NULL, drops it."""
    bench.generate(people(sa.Column("name", sa.Text)))
    bench.upgrade(database)
    database.execute("insert into people (name) values ('Ada')")
    models = people(sa.Column("name", sa.Text, nullable=False))
    first, second = bench.generate(models).files
    assert "CHECK (name IS NOT NULL) NOT VALID" in first.read_text()
    validating = second.read_text().partition("def downgrade")[0]
    assert validating.index("VALIDATE CONSTRAINT") < validating.index("nullable=False")
    bench.upgrade(database)
    assert bench.differences(database, models) == []
    assert "is_not_null" not in database.dump_schema()


def test_a_foreign_key_is_validated_by_a_second_revision(
    bench: Workbench, database: Database
) -> None:
    """Adding it does not scan; validating it does not block writes."""
    models = people()
    bench.generate(models)
    models = people(sa.Column("boss_id", sa.ForeignKey("people.id")))
    first, second = bench.generate(models).files
    assert "postgresql_not_valid=True" in first.read_text()
    assert "VALIDATE CONSTRAINT fk_people_boss_id" in second.read_text()
    bench.upgrade(database)
    assert database.rows("select convalidated from pg_constraint where contype = 'f'") == [(True,)]


def test_a_unique_constraint_takes_over_an_index_built_concurrently(
    bench: Workbench, database: Database
) -> None:
    """The constraint on an existing table is made of an index that blocked no writes."""
    bench.generate(people(sa.Column("mail", sa.Text)))
    models = people(sa.Column("mail", sa.Text, unique=True))
    (file,) = bench.generate(models).files
    assert "UNIQUE USING INDEX" in file.read_text()
    bench.upgrade(database)
    assert bench.differences(database, models) == []


@pytest.mark.parametrize("safe", [True, False])
def test_constraints_without_a_name_get_that_of_postgresql(
    bench: Workbench, database: Database, safe: bool
) -> None:
    """So that their safe form and their downgrade can be written; a name that is taken is not."""

    def models(*columns: sa.Column[Any]) -> sa.MetaData:
        made = sa.MetaData()
        sa.Table("goods", made, sa.Column("id", sa.Integer, primary_key=True), *columns)
        return made

    bench.generate(models(sa.Column("mail", sa.Text), sa.Column("of", sa.Integer)))
    bench.upgrade(database)
    wanted = models(
        sa.Column("mail", sa.Text, unique=True),
        sa.Column("of", sa.ForeignKey("goods.id")),
        sa.Column("goods_code_key", sa.Text, index=True),
        sa.Column("code", sa.Text, sa.CheckConstraint("code <> ''", name="goods_code_key")),
    )
    bench.generate(wanted, safe=safe)
    bench.upgrade(database)
    names = (
        "select conname::text from pg_constraint "
        "where conrelid = 'goods'::regclass and contype in ('u', 'f') order by 1"
    )
    assert database.rows(names) == [("goods_mail_key",), ("goods_of_fkey",)]
    wanted = models(
        *(
            column._copy()
            for column in wanted.tables["goods"].columns
            if column.name not in "id code"
        ),
        sa.Column(
            "code", sa.Text, sa.CheckConstraint("code <> ''", name="goods_code_key"), unique=True
        ),
    )
    bench.generate(wanted, safe=safe)
    bench.upgrade(database)
    assert ("goods_code_key1",) in database.rows(names)
    assert bench.differences(database, wanted) == []
    gate = Gate(scripts=str(bench.directory), scratch=bench.scratch, models=lambda _: [wanted])
    ran = gate.run(["round-trip", "models"])
    assert [finding for check in ran for finding in check.findings] == []


def test_a_column_with_a_default_is_added_in_one_step(bench: Workbench, database: Database) -> None:
    """Rows that exist get the constant; the models have no server default, so it goes again."""
    bench.generate(people())
    bench.upgrade(database)
    database.execute("insert into people default values")
    models = people(sa.Column("tries", sa.Integer, nullable=False, default=3))
    bench.generate(models)
    bench.upgrade(database)
    assert database.rows("select tries from people") == [(3,)]
    assert bench.differences(database, models) == []


def test_a_column_without_a_default_leaves_room_for_values(
    bench: Workbench, database: Database
) -> None:
    """A revision between adding and proving waits for the person's UPDATE; a warning says so."""
    bench.generate(people())
    bench.upgrade(database)
    database.execute("insert into people default values")
    models = people(sa.Column("mail", sa.Text, nullable=False))
    made = bench.generate(models)
    assert len(made.files) == 3
    assert "rows that exist need a value in people.mail" in made.warnings[0]
    fill = made.files[1]
    update = "    op.execute(\"update people set mail = 'x'\")\n"
    fill.write_text(fill.read_text().replace("    pass\n", update, 1))
    bench.project.update_lock()
    bench.upgrade(database)
    assert database.rows("select mail from people") == [("x",)]
    assert bench.differences(database, models) == []


def test_a_type_without_a_cast_gets_a_using_clause(bench: Workbench, database: Database) -> None:
    """PostgreSQL casts no text to a number by itself; the revision says how, and warns."""
    bench.generate(people(sa.Column("age", sa.Text)))
    bench.upgrade(database)
    database.execute("insert into people (age) values ('36')")
    models = people(sa.Column("age", sa.Integer))
    made = bench.generate(models)
    assert made.losses == (
        "changes column people.age from TEXT to INTEGER: texts that are no INTEGER fail",
    )
    assert "postgresql_using='age::INTEGER'" in bench.text()
    bench.upgrade(database)
    assert database.rows("select age from people") == [(36,)]


def test_plain_leaves_alembics_proposal(bench: Workbench) -> None:
    """Without safe forms there is one revision."""
    bench.generate(people(sa.Column("name", sa.Text)))
    models = people(sa.Column("name", sa.Text, index=True, nullable=False))
    assert len(bench.generate(models, safe=False).files) == 1
    assert "autocommit_block" not in bench.text()


def test_an_index_on_a_partitioned_table_stays_plain_and_warns(bench: Workbench) -> None:
    """PostgreSQL builds none concurrently there."""

    def parts(*more: sa.Index) -> sa.MetaData:
        models = sa.MetaData()
        sa.Table(
            "events",
            models,
            sa.Column("at", sa.Date, nullable=False),
            *more,
            postgresql_partition_by="RANGE (at)",
        )
        return models

    bench.generate(parts())
    made = bench.generate(parts(sa.Index("events_at", "at")))
    assert "events is partitioned" in made.warnings[0]
    assert "autocommit_block" not in bench.text()


def test_new_enum_values_are_a_revision_before_their_use(
    bench: Workbench, database: Database
) -> None:
    """A value is added in its place, committed, and then used as a default."""
    bench.generate(people(sa.Column("mood", sa.Enum("sad", "glad", name="mood"))))
    bench.upgrade(database)
    wider = sa.Enum("sad", "calm", "glad", name="mood")
    models = people(sa.Column("mood", wider, server_default="calm"))
    first, _ = bench.generate(models).files
    assert "ADD VALUE IF NOT EXISTS 'calm' AFTER 'sad'" in first.read_text()
    bench.upgrade(database)
    assert bench.differences(database, models) == []


def test_an_enum_goes_with_the_last_column_that_uses_it(
    bench: Workbench, database: Database
) -> None:
    """Dropping the column drops the type, and the downgrade creates both again."""
    bench.generate(people(sa.Column("mood", sa.Enum("sad", "glad", name="mood"))))
    bench.generate(people())
    bench.upgrade(database)
    assert database.rows("select count(*) from pg_type where typname = 'mood'") == [(0,)]


def test_a_renamed_enum_value_keeps_its_rows(bench: Workbench, database: Database) -> None:
    """One that goes and one that comes may be a rename: asked, refused, or said beforehand."""

    def mood(*values: str) -> sa.MetaData:
        return people(sa.Column("mood", sa.Enum(*values, name="mood"), server_default=values[0]))

    bench.generate(mood("it's: sad", "glad"))
    bench.upgrade(database)
    database.execute("insert into people default values")
    models = mood("blue", "glad")
    with pytest.raises(ConfigurationError, match=r"value mood\.blue is new and mood\.it's: sad is"):
        bench.generate(models)
    made = bench.generate(models, ask=lambda candidate: candidate.old[0])
    assert "rename value mood.it's: sad to blue" in made.operations
    bench.upgrade(database)
    assert database.rows("select mood::text from people") == [("blue",)]
    assert bench.differences(database, models) == []
    made = bench.generate(mood("grey", "glad"), renames=["mood.blue:grey"])
    bench.upgrade(database)
    assert database.rows("select mood::text from people") == [("grey",)]
    made = bench.generate(mood("blue", "glad"), drops=["mood.grey"])
    assert "has values that the models lack: grey" in made.warnings[0]
    (_, trip) = Gate(scripts=str(bench.directory), scratch=bench.scratch).run(["round-trip"])
    assert [finding.message for finding in trip.findings] == []


def test_an_enum_value_that_the_models_lack_is_told(bench: Workbench) -> None:
    """It cannot be taken out, so a warning says what can be done."""
    bench.generate(people(sa.Column("mood", sa.Enum("sad", "glad", name="mood"))))
    made = bench.generate(people(sa.Column("mood", sa.Enum("glad", name="mood"))))
    assert made.files == ()
    assert "enum mood has values that the models lack: sad" in made.warnings[0]


def test_several_heads_are_refused(bench: Workbench) -> None:
    """The models can be compared with one history only; a merge helps, and nothing else does."""
    (left,) = new(bench.project, "left", rev_id="1eft")
    (right,) = new(bench.project, "right", rev_id="2ight", head="base", splice=True)
    with pytest.raises(MultipleHeadsError) as error:
        bench.generate(people())
    assert str(error.value) == (
        f"the scripts have 2 heads: 1eft ({left}), 2ight ({right}). "
        "Merge them with `automigrate merge`, or name the one to build on: `--head 1eft`."
    )
    with pytest.raises(MultipleHeadsError, match="or name the one to build on: `--head 1eft`"):
        new(bench.project, "by hand")
    assert new(bench.project, "by hand", rev_id="1eft2", head="1eft")
    assert merge(bench.project) is not None
    assert len(bench.generate(people()).files) == 1


def test_a_project_that_keeps_its_branches_names_the_head(
    bench: Workbench, database: Database
) -> None:
    """All are applied for the comparison; what is missing is written on the one that is named."""
    bench.generate(people(), rev_id="1eft")
    new(bench.project, "right", rev_id="2ight", head="base", branch_label="other")

    def wanted() -> sa.MetaData:
        return people(sa.Column("name", sa.Text(), index=True))

    def wanted_beside() -> sa.MetaData:
        models = wanted()
        sa.Table("orders", models, sa.Column("id", sa.Integer, primary_key=True))
        return models

    made = bench.generate(wanted(), head="1eft")
    assert len(made.files) == 2
    graph = bench.project.graph
    assert graph[made.revisions[0]].down_revisions == ("1eft",)
    assert set(graph.heads) == {made.revisions[-1], "2ight"}
    bench.generate(wanted_beside(), head="other@head", rev_id="3")
    assert bench.project.graph["3"].down_revisions == ("2ight",)
    bench.upgrade(database, target="heads")
    assert bench.generate(wanted_beside(), head="3").files == ()


@pytest.mark.parametrize("head", ["1eft", "nowhere"])
def test_what_is_no_head_is_not_built_on(head: str, bench: Workbench) -> None:
    """Before anything runs; a revision on it would begin a branch that nobody asked for."""
    bench.generate(people(), rev_id="1eft")
    new(bench.project, "next", rev_id="next")
    with pytest.raises(ScriptError, match=head):
        bench.generate(people(sa.Column("name", sa.Text())), head=head)


def test_sql_files_run_as_a_revision(bench: Workbench, database: Database) -> None:
    """Several statements, casts, colons in literals, percent signs and backslashes are kept."""
    script, up, down = new(bench.project, "by hand", sql=True)
    up.write_text(
        "create table t (a text);\n"
        "insert into t values ('50%'), (':name'), ('12:30:00'::time::text), (E'a\\\\:b');\n"
    )
    down.write_text("drop table t;\n")
    bench.upgrade(database)
    assert database.rows("select a from t") == [("50%",), (":name",), ("12:30:00",), ("a\\:b",)]
    assert script.suffix == ".py"


def test_env_py_brings_the_models_and_filters(bench: Workbench, database: Database) -> None:
    """`target_metadata` and `include_object` of env.py count, and its connection is not used."""
    (bench.directory / "env.py").write_text(
        """
from alembic import context
import sqlalchemy as sa

models = sa.MetaData()
sa.Table("kept", models, sa.Column("id", sa.Integer, primary_key=True))
sa.Table("hidden", models, sa.Column("id", sa.Integer, primary_key=True))

def include_object(obj, name, kind, reflected, other):
    return name != "hidden"

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=models, include_object=include_object
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
    )
    made = generate(bench.project, bench.rehearsal(), "first")
    assert made.operations == ("create table kept (id)",)


def test_without_models_the_text_says_where_to_name_them(bench: Workbench) -> None:
    """Neither env.py nor an option brings models."""
    with pytest.raises(ConfigurationError, match="--models package.module:Base"):
        generate(bench.project, bench.rehearsal(), "first")


def test_the_default_of_a_domain_is_not_that_of_its_columns(
    bench: Workbench, database: Database
) -> None:
    """It is reflected as if it were."""
    models = people(sa.Column("weight", pg.DOMAIN("weight", sa.Numeric, default="1.5")))
    bench.generate(models)
    bench.upgrade(database)
    assert bench.differences(database, models) == []


def zoo() -> sa.MetaData:
    """Return models with everything that PostgreSQL has to offer and Alembic can compare."""
    models = sa.MetaData(naming_convention=NAMES)
    meals = sa.Sequence("meals", metadata=models, start=100, increment=5, maxvalue=9999, cycle=True)
    sa.Sequence("visitors", metadata=models, schema="zoo", data_type=sa.Integer, cache=3)
    weight = pg.DOMAIN("weight", sa.Numeric(8, 3), check="VALUE > 0")
    sa.Table(
        "animals",
        models,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True, start=10), primary_key=True),
        sa.Column("small", sa.SmallInteger, nullable=False, server_default="7"),
        sa.Column("meal", sa.BigInteger, server_default=meals.next_value()),
        sa.Column("weight", weight),
        sa.Column("amount", sa.Numeric(12, 2), comment="in cents, it's said"),
        sa.Column("ratio", pg.DOUBLE_PRECISION),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("notes", sa.Text, server_default="it's: 100%"),
        sa.Column("alive", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("born", sa.Date),
        sa.Column("seen", sa.DateTime(timezone=True), server_default=sa.func.now()),
        sa.Column("wakes", sa.Time),
        sa.Column("sleeps", sa.Interval),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("key", pg.UUID(as_uuid=True), server_default=sa.text("gen_random_uuid()")),
        sa.Column("facts", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("old_facts", sa.JSON),
        sa.Column("tags", pg.ARRAY(sa.Text)),
        sa.Column("home", pg.INET),
        sa.Column("nets", pg.CIDR),
        sa.Column("card", pg.MACADDR),
        sa.Column("bits", pg.BIT(8)),
        sa.Column("span", pg.INT4RANGE),
        sa.Column("stay", pg.TSTZRANGE),
        sa.Column("words", pg.TSVECTOR),
        sa.Column("mood", sa.Enum("sad", "glad", name="mood"), server_default="glad"),
        sa.Column("moods", pg.ARRAY(sa.Enum("sad", "glad", name="mood"))),
        sa.Column("twice", sa.Integer, sa.Computed("small * 2", persisted=True)),
        sa.Column("initial", sa.Text, sa.Computed('upper("left"(name, 1))', persisted=True)),
        sa.Column("parent_id", sa.ForeignKey("animals.id", ondelete="SET NULL")),
        sa.CheckConstraint("amount >= 0", name="amount_is_positive"),
        sa.CheckConstraint("name NOT LIKE '%:%' AND mood <> 'sad'"),
        sa.UniqueConstraint("name", "born"),
        sa.UniqueConstraint("home", name="homes", postgresql_nulls_not_distinct=True),
        pg.ExcludeConstraint(("span", "&&"), name="no_overlap", using="gist"),
        sa.Index("ix_partial", "name", postgresql_where=sa.text("alive")),
        sa.Index("ix_lower", sa.text("lower(name)")),
        sa.Index("ix_tags", "tags", postgresql_using="gin"),
        sa.Index(
            "ix_facts", "facts", postgresql_using="gin", postgresql_ops={"facts": "jsonb_path_ops"}
        ),
        sa.Index("ix_born_desc", sa.text("born DESC NULLS LAST"), postgresql_include=["name"]),
        comment="all of them",
    )
    sa.Table(
        "visits",
        models,
        sa.Column("animal_id", sa.ForeignKey("animals.id"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("kind", sa.Enum("walk", "meal", name="kind", schema="zoo"), comment="of visit"),
        sa.Column("weight", weight),
        sa.Column("stars", sa.SmallInteger, sa.CheckConstraint("stars < 6", name="few_stars")),
        sa.CheckConstraint("kind <> 'walk' OR day > '2000-01-01'", name="no_early_walks"),
        schema="zoo",
        comment="who came",
    )
    return models


def test_the_zoo_is_made_without_a_difference(bench: Workbench, database: Database) -> None:
    """generate, then upgrade: the database has everything that the models have."""
    bench.generate(zoo())
    bench.upgrade(database)
    assert bench.differences(database, zoo()) == []
    assert bench.generate(zoo()).files == ()


def test_the_zoo_is_what_sqlalchemy_itself_makes(bench: Workbench, database: Database) -> None:
    """The catalogue is the same, also where autogenerate does not look: checks, exclusions."""
    bench.generate(zoo())
    bench.upgrade(database)
    database.execute("drop table automigrate_journal")
    with database.connect() as connection:
        generated = fingerprint(connection, "alembic_version")
    database.execute("drop schema zoo, public cascade; create schema public; create schema zoo")
    engine = sa.create_engine(
        DatabaseURL.parse(database.url).sqlalchemy_url(), poolclass=sa.pool.NullPool
    )
    zoo().create_all(engine)
    with database.connect() as connection:
        made = fingerprint(connection, "alembic_version")
    assert any("amount_is_positive" in line for line in made)
    assert changes(made, generated) == ""


def test_the_zoo_comes_to_existing_tables_and_goes_again(
    bench: Workbench, database: Database
) -> None:
    """Column by column, index by index: up, down and up again end where they should."""
    few = sa.MetaData(naming_convention=NAMES)
    sa.Table(
        "animals",
        few,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True, start=10), primary_key=True),
        sa.Column("small", sa.SmallInteger, nullable=False, server_default="7"),
        comment="all of them",
    )
    bench.generate(few, "first")
    bench.generate(zoo(), "second")
    bench.upgrade(database)
    assert bench.differences(database, zoo()) == []
    bench.generate(few, "third", drops=[])
    bench.upgrade(database)
    assert bench.differences(database, few) == []
    (_, trip) = Gate(scripts=str(bench.directory), scratch=bench.scratch).run(["round-trip"])
    assert [finding.message for finding in trip.findings] == []
