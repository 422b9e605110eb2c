"""Checks, exclusions and sequences of tables that exist: what is compared and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import alembic
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from automigrate.database.url import DatabaseURL
from automigrate.workflow.answers import Answers
from automigrate.workflow.gate import Gate
from automigrate.workflow.generate import generate, propose
from automigrate.workflow.live import differences, push
from tests.support.workflow import Workbench, benches, context_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer
    from automigrate.workflow.generate import Generated
    from tests.support.servers import Database

CONVENTION = {"ck": "ck_%(table_name)s_%(constraint_name)s"}


@pytest.fixture
def bench(tmp_path: Path, server: EmbeddedServer) -> Iterator[Workbench]:
    """An empty project."""
    yield from benches(tmp_path, server)


def goods(*parts: Any, convention: dict[str, str] | None = None, **more: Any) -> sa.MetaData:
    """Return models of one table with some columns and more."""
    models = sa.MetaData(naming_convention=convention)
    sa.Table(
        "goods",
        models,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(80)),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("sold", pg.TSTZRANGE),
        *parts,
        **more,
    )
    return models


def change(
    bench: Workbench, database: Database, before: sa.MetaData, after: sa.MetaData, **more: Any
) -> Generated:
    """Go from one set of models to another, and see that nothing is left to be done, also back."""
    bench.generate(before, "first")
    bench.upgrade(database)
    assert bench.differences(database, before) == []
    made = bench.generate(after, "second", **more)
    bench.upgrade(database)
    assert bench.differences(database, after) == []
    assert bench.generate(after, "third").files == ()
    (_, trip) = Gate(scripts=str(bench.directory), scratch=bench.scratch).run(["round-trip"])
    assert [finding.message for finding in trip.findings] == []
    return made


def checks(database: Database, table: str = "goods") -> dict[str, str]:
    """Return the checks and exclusions of a table, as the server writes them."""
    rows = database.rows(
        "select conname, pg_get_constraintdef(oid) from pg_constraint "
        f"where conrelid = '{table}'::regclass and contype in ('c', 'x') order by conname"
    )
    return {str(name): str(definition) for name, definition in rows}


def test_a_check_is_added_and_validated_by_a_second_revision(
    bench: Workbench, database: Database
) -> None:
    """Adding it scans nothing; validating it blocks no writes; both lead back."""
    after = goods(sa.CheckConstraint("price >= 0", name="price_is_positive"))
    first, second = change(bench, database, goods(), after).files
    assert (
        "op.create_check_constraint(op.f('price_is_positive'), 'goods', 'price >= 0', "
        "postgresql_not_valid=True)"
    ) in first.read_text()
    assert "VALIDATE CONSTRAINT price_is_positive" in second.read_text()
    assert checks(database) == {"price_is_positive": "CHECK ((price >= (0)::numeric))"}


def test_rows_that_break_a_new_check_stop_the_second_revision_only(
    bench: Workbench, database: Database
) -> None:
    """New rows are checked from the first revision on."""
    bench.generate(goods())
    bench.upgrade(database)
    database.execute("insert into goods (price) values (-1)")
    bench.generate(goods(sa.CheckConstraint("price >= 0", name="price_is_positive")))
    with pytest.raises(Exception, match="price_is_positive"):
        bench.upgrade(database)
    assert checks(database)["price_is_positive"].endswith("NOT VALID")
    database.execute("update goods set price = 1")
    assert len(bench.upgrade(database)) == 1


def test_a_check_that_is_not_valid_is_the_same(bench: Workbench, database: Database) -> None:
    """Whether old rows were looked at is no difference, and no warning of the reflection."""
    models = goods(sa.CheckConstraint("price >= 0", name="rule"))
    bench.generate(goods())
    bench.upgrade(database)
    database.execute("alter table goods add constraint rule check (price >= 0) not valid")
    assert bench.differences(database, models) == []
    assert bench.differences(database, goods()) == ["drop constraint rule on goods"]


@pytest.mark.parametrize(
    "condition",
    ["price>=0", "NOT (price < 0)", "price BETWEEN 0 AND 10", "name in ('a', 'b')", "name ~ '^a'"],
)
def test_a_check_in_another_spelling_is_the_same(
    bench: Workbench, database: Database, condition: str
) -> None:
    """The server writes it its own way, and what it means is compared."""
    models = goods(sa.CheckConstraint(condition, name="rule"))
    bench.generate(models)
    bench.upgrade(database)
    assert condition not in checks(database)["rule"]
    assert bench.differences(database, models) == []


def test_a_changed_check_is_replaced(bench: Workbench, database: Database) -> None:
    """The old one goes and the new one comes in the same transaction."""
    made = change(
        bench,
        database,
        goods(sa.CheckConstraint("price >= 0", name="rule")),
        goods(sa.CheckConstraint("price > 0", name="rule")),
    )
    assert made.operations == (
        "drop constraint rule on goods",
        "add check constraint rule on goods",
    )
    assert checks(database) == {"rule": "CHECK ((price > (0)::numeric))"}


def test_a_check_that_the_models_lack_is_dropped(bench: Workbench, database: Database) -> None:
    """Also one that somebody has added by hand."""
    made = change(bench, database, goods(sa.CheckConstraint("price > 1", name="rule")), goods())
    assert made.operations == ("drop constraint rule on goods",)
    assert made.warnings == (
        "constraint rule on goods is dropped, because the models do not declare it.",
    )
    database.execute("alter table goods add check (price > 2)")
    assert bench.differences(database, goods()) == ["drop constraint goods_price_check on goods"]


def test_plain_adds_a_check_in_one_step(bench: Workbench, database: Database) -> None:
    """As everything else."""
    after = goods(sa.CheckConstraint("price >= 0", name="rule"))
    made = change(bench, database, goods(), after, safe=False)
    assert len(made.files) == 1
    assert "not_valid" not in bench.text()


def test_checks_without_a_name_are_found_by_what_they_say(
    bench: Workbench, database: Database
) -> None:
    """The server names them; what is added gets a name that is free."""
    before = goods(sa.CheckConstraint("price >= 0"), sa.CheckConstraint("price < 100"))
    after = goods(sa.CheckConstraint("price < 100"), sa.CheckConstraint("price <> 7"))
    made = change(bench, database, before, after)
    assert len(made.operations) == 2
    assert sorted(checks(database).values()) == [
        "CHECK ((price < (100)::numeric))",
        "CHECK ((price <> (7)::numeric))",
    ]


def test_names_by_convention_are_given_once(bench: Workbench, database: Database) -> None:
    """A convention is not applied to a name that came of it; a new convention renames."""

    def named(*names: str, **more: Any) -> sa.MetaData:
        rules = [sa.CheckConstraint(f"price >= {len(name)}", name=name) for name in names]
        return goods(*rules, **more)

    made = change(bench, database, named("price"), named("price", convention=CONVENTION))
    assert made.operations == ("ALTER TABLE goods RENAME CONSTRAINT price TO ck_goods_price",)
    bench.generate(named("price", "cheap!", convention=CONVENTION))
    bench.upgrade(database)
    assert list(checks(database)) == ["ck_goods_cheap!", "ck_goods_price"]


def test_checks_of_types_follow_the_type(bench: Workbench, database: Database) -> None:
    """An enum that is kept as text brings its check along, whose values change with it."""

    def kinds(*values: str, **more: Any) -> sa.MetaData:
        kind = sa.Enum(*values, name="kind", native_enum=False, create_constraint=True, length=9)
        flag = sa.Boolean(create_constraint=True, name="flag")
        return goods(sa.Column("kind", kind), sa.Column("flag", flag), **more)

    assert change(bench, database, kinds("a", "b"), kinds("a", "c")).warnings == ()
    assert "'c'::character varying" in checks(database)["kind"]
    named = kinds("a", "c", convention=CONVENTION)
    assert bench.differences(database, named) == []


def test_a_column_that_comes_with_its_checks(bench: Workbench, database: Database) -> None:
    """Those of the column, of the table and of the type are there afterwards, once each."""
    kind = sa.Enum("a", "b", name="kind", native_enum=False, create_constraint=True)
    after = goods(
        sa.Column("weight", sa.Integer, sa.CheckConstraint("weight > 0", name="heavy")),
        sa.Column("kind", kind),
        sa.CheckConstraint("weight < 10 OR price > 1", name="light"),
    )
    change(bench, database, goods(), after)
    assert sorted(checks(database)) == ["heavy", "kind", "light"]
    change(bench, database, after, goods())
    assert checks(database) == {}


def test_a_new_table_has_the_checks_of_its_columns(bench: Workbench, database: Database) -> None:
    """Alembic leaves them out; percent signs and colons arrive as they are."""
    rule = r"name NOT LIKE '50%' AND name <> ' \:x' AND name <> '12:30' AND name::text <> ''"
    models = goods(
        sa.Column("weight", sa.Integer, sa.CheckConstraint("weight > 0", name="heavy")),
        sa.CheckConstraint(rule, name="rule"),
    )
    bench.generate(models)
    bench.upgrade(database)
    assert sorted(checks(database)) == ["heavy", "rule"]
    assert "'50%'" in checks(database)["rule"]
    assert "' :x'" in checks(database)["rule"]
    assert bench.differences(database, models) == []


def test_percent_signs_and_colons_arrive_on_a_table_that_exists(
    bench: Workbench, database: Database
) -> None:
    """In the file, in the database, and on the way back."""
    rule = r"name NOT LIKE '50%' AND name <> ' \:x' AND name::text <> ''"
    with_rule = goods(sa.CheckConstraint(rule, name="rule"))
    change(bench, database, goods(), with_rule)
    assert "'50%'" in checks(database)["rule"]
    change(bench, database, with_rule, goods())


def test_a_check_in_expressions_of_columns(bench: Workbench, database: Database) -> None:
    """SQLAlchemy expressions are rendered with their values."""
    models = goods()
    table = models.tables["goods"]
    table.append_constraint(
        sa.CheckConstraint(sa.and_(table.c.price > 0, table.c.name.like("a%")), name="rule")
    )
    change(bench, database, goods(), models)
    assert "'a%'" in checks(database)["rule"]


def test_a_column_changes_its_type_together_with_its_check(
    bench: Workbench, database: Database
) -> None:
    """The old check is gone when the type changes, and an unchanged one is not taken for new."""
    before = sa.MetaData()
    sa.Table(
        "t",
        before,
        sa.Column("a", sa.Text),
        sa.Column("b", sa.Integer),
        sa.CheckConstraint("a <> ''", name="rule"),
        sa.CheckConstraint("b > 0", name="kept"),
    )
    after = sa.MetaData()
    sa.Table(
        "t",
        after,
        sa.Column("a", sa.Integer),
        sa.Column("b", sa.BigInteger),
        sa.CheckConstraint("a > 0", name="rule"),
        sa.CheckConstraint("b > 0", name="kept"),
    )
    made = change(bench, database, before, after)
    assert made.warnings == ()
    assert [line for line in made.operations if "kept" in line] == []
    assert sorted(checks(database, "t")) == ["kept", "rule"]


def test_a_check_follows_a_renamed_column(bench: Workbench, database: Database) -> None:
    """The server has renamed in it, too; nothing is left to be done."""

    def named(name: str) -> sa.MetaData:
        return goods(sa.Column(name, sa.Integer), sa.CheckConstraint(f"{name} > 0", name="rule"))

    made = change(bench, database, named("a"), named("b"), renames=["goods.a:b"])
    assert made.operations == ("rename column goods.a to b",)


def test_a_check_uses_a_new_value_of_an_enum(bench: Workbench, database: Database) -> None:
    """The value is committed before; comparing does not need it in the database."""

    def moods(*values: str, rule: str) -> sa.MetaData:
        kind = sa.Enum(*values, name="mood")
        return goods(sa.Column("mood", kind), sa.CheckConstraint(rule, name="rule"))

    made = change(
        bench,
        database,
        moods("sad", "glad", rule="mood <> 'sad'"),
        moods("sad", "calm", "glad", rule="mood <> 'calm'"),
    )
    assert made.warnings == ()
    assert checks(database)["rule"] == "CHECK ((mood <> 'calm'::mood))"


@pytest.mark.parametrize("schema", ["public", "more"])
def test_names_that_need_quotes_and_schemas_that_are_named(
    bench: Workbench, database: Database, schema: str
) -> None:
    """Also the default schema, by its name; the probe hides no other table of that name."""

    def items(limit: int) -> sa.MetaData:
        models = sa.MetaData(schema=schema)
        sa.Table(
            "Order Items",
            models,
            sa.Column("Unit Price", sa.Integer),
            sa.Column("of", sa.Enum("a", "b", name="Kind", create_constraint=True)),
            sa.CheckConstraint(f'"Unit Price" > {limit}', name="The Rule"),
            sa.CheckConstraint(f'"Order Items"."Unit Price" < {limit + 9}'),
        )
        return models

    made = change(bench, database, items(0), items(1))
    assert len(made.operations) == 4
    assert checks(database, f'{schema}."Order Items"') == {
        "The Rule": 'CHECK (("Unit Price" > 1))',
        "Order Items_Unit Price_check": 'CHECK (("Unit Price" < 10))',
    }


def test_an_exclusion_constraint_comes_changes_and_goes(
    bench: Workbench, database: Database
) -> None:
    """With a condition and an operator class; that it blocks is told."""

    def apart(where: str | None) -> sa.MetaData:
        condition = None if where is None else sa.text(where)
        return goods(
            pg.ExcludeConstraint(
                ("sold", "&&"),
                name="apart",
                using="gist",
                where=condition,
                ops={"sold": "range_ops"},
            )
        )

    made = change(bench, database, goods(), apart(None))
    assert "exclusion constraint apart on goods is built in one step" in made.warnings[0]
    assert checks(database) == {"apart": "EXCLUDE USING gist (sold WITH &&)"}
    change(bench, database, apart(None), apart("price > 0"))
    assert checks(database)["apart"].endswith("WHERE ((price > (0)::numeric))")
    made = change(bench, database, apart("price > 0"), goods())
    assert not any("blocks" in warning for warning in made.warnings)
    assert checks(database) == {}


def test_constraints_of_partitions_are_those_of_their_parent(
    bench: Workbench, database: Database
) -> None:
    """A check on the parent is made in two steps, and is no difference on a partition."""

    def events(*rules: sa.CheckConstraint) -> sa.MetaData:
        models = sa.MetaData()
        sa.Table(
            "events",
            models,
            sa.Column("at", sa.Date, nullable=False),
            sa.Column("n", sa.Integer),
            *rules,
            postgresql_partition_by="RANGE (at)",
        )
        sa.Table(
            "events_2026",
            models,
            sa.Column("at", sa.Date, nullable=False),
            sa.Column("n", sa.Integer),
        )
        return models

    bench.generate(events(), "first")
    bench.add(
        'op.execute("alter table events attach partition events_2026 '
        "for values from ('2026-01-01') to ('2027-01-01')\")",
        'op.execute("alter table events detach partition events_2026")',
    )
    bench.upgrade(database)
    models = events(sa.CheckConstraint("n > 0", name="rule"))
    assert len(bench.generate(models).files) == 2
    bench.upgrade(database)
    assert bench.differences(database, models) == []
    assert list(checks(database, "events_2026")) == ["rule"]


def test_domains_extensions_and_not_null_are_no_checks(
    bench: Workbench, database: Database
) -> None:
    """Rows of pg_constraint that are something else, or belong to an extension, do not count."""
    bench.generate(goods())
    bench.upgrade(database)
    database.execute("create domain positive as integer check (value > 0)")
    database.execute("create extension hstore")
    database.execute("alter table goods add constraint foreign_rule check (price > 0)")
    assert bench.differences(database, goods()) == ["drop constraint foreign_rule on goods"]
    database.execute(
        "insert into pg_depend "
        "(classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype) "
        "select 'pg_constraint'::regclass, k.oid, 0, 'pg_extension'::regclass, e.oid, 0, 'e' "
        "from pg_constraint k, pg_extension e "
        "where conname = 'foreign_rule' and extname = 'hstore'"
    )
    assert bench.differences(database, goods()) == []
    database.execute(
        "delete from pg_depend where deptype = 'e' and classid = 'pg_constraint'::regclass"
    )


def test_a_check_that_the_server_refuses_is_told(bench: Workbench, database: Database) -> None:
    """What cannot be compared is a warning, not a difference."""
    bench.generate(goods(sa.CheckConstraint("price > 0", name="rule")))
    bench.upgrade(database)
    wrong = goods(sa.CheckConstraint("prise > 0", name="rule"))
    proposal = bench.proposal(database, wrong)
    assert proposal.empty
    assert "constraint rule on goods cannot be compared" in proposal.warnings[0]
    assert 'column "prise" does not exist' in proposal.warnings[0]


def test_a_role_that_makes_no_temporary_tables_sees_no_false_difference(
    bench: Workbench, database: Database
) -> None:
    """What it cannot compare is told; Alembic's own comparison of defaults is left."""
    name = database.rows("select current_database()")[0][0]
    models = goods(
        sa.Column("kind", sa.Text, server_default="it"),
        sa.CheckConstraint("price > 0"),
        sa.CheckConstraint("price < 9", name="rule"),
    )
    bench.generate(models)
    bench.upgrade(database)
    database.execute(
        f'revoke temporary on database "{name}" from public;'
        "do $$ begin if to_regrole('no_temp') is null then create role no_temp; end if; end $$;"
        "grant select on all tables in schema public to no_temp"
    )
    with context_on(database, models) as context:
        assert context.connection is not None
        context.connection.execute(sa.text("set local role no_temp"))
        proposal = propose(context, Answers())
    database.execute("drop owned by no_temp; drop role no_temp")
    assert proposal.described() == []
    assert len(proposal.warnings) == 2
    assert "permission denied to create temporary tables" in proposal.warnings[0]


ENV = """
from alembic import context
import sqlalchemy as sa

models = sa.MetaData()
sa.Table("goods", models, sa.Column("id", sa.Integer, primary_key=True),
         sa.CheckConstraint("id > 0", name="kept"))
sa.Table("hidden", models, sa.Column("id", sa.Integer, primary_key=True),
         sa.CheckConstraint("id > 0", name="of_hidden"))

def include_object(obj, name, kind, reflected, other):
    if kind in ("check_constraint", "exclude_constraint"):
        assert obj.table.name == "goods", obj.table.name
        return name != "by_hand"
    return not (kind == "sequence" and name == "by_hand_seq") and name != "hidden"

def include_name(name, kind, parents):
    if kind == "check_constraint":
        assert parents["table_name"] == "goods"
    return not (kind == "check_constraint" and name == "by_name")

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=models, %s
        include_object=include_object, include_name=include_name)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
BY_HAND = (
    'op.execute("create table goods (id integer constraint goods_pkey primary key,'
    " constraint by_hand check (id > 1), constraint by_name check (id > 2));"
    ' create table hidden (id serial primary key); create sequence by_hand_seq")'
)


def test_the_filters_of_env_py_count(bench: Workbench) -> None:
    """`include_object` and `include_name` are asked about checks, tables and sequences."""
    bench.add(BY_HAND)
    (bench.directory / "env.py").write_text(ENV % "")
    made = generate(bench.project, bench.rehearsal(), "rules")
    assert made.operations == ("add check constraint kept on goods",)


@pytest.mark.skipif(
    tuple(map(int, alembic.__version__.split(".")[:2])) < (1, 20), reason="Alembic has none"
)
def test_alembics_own_comparison_of_checks_adds_nothing(bench: Workbench) -> None:
    """Where a project has it on, each check is told once, and by what it says."""
    bench.add(BY_HAND)
    plugins = 'autogenerate_plugins=["alembic.autogenerate.*", "alembic.ext.*"],'
    (bench.directory / "env.py").write_text(ENV % plugins)
    made = generate(bench.project, bench.rehearsal(), "rules")
    assert made.operations == ("add check constraint kept on goods",)


def with_sequence(**options: Any) -> sa.MetaData:
    """Return models with a sequence, and a column that takes its default from it."""
    models = sa.MetaData()
    number = sa.Sequence("invoice_no", metadata=models, **options)
    sa.Table(
        "invoices",
        models,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("no", sa.BigInteger, server_default=number.next_value()),
    )
    return models


def without_sequence() -> sa.MetaData:
    """Return the same without it."""
    models = sa.MetaData()
    sa.Table("invoices", models, sa.Column("id", sa.Integer, primary_key=True))
    return models


def test_a_sequence_comes_with_a_default_and_goes_with_it(
    bench: Workbench, database: Database
) -> None:
    """It is made before the column and dropped after it; the loss is told."""
    made = change(bench, database, without_sequence(), with_sequence(start=1000))
    assert made.operations[0] == "CREATE SEQUENCE invoice_no START WITH 1000"
    database.execute("insert into invoices default values")
    assert database.rows("select no from invoices") == [(1000,)]
    made = change(bench, database, with_sequence(start=1000), without_sequence())
    assert made.operations[-1] == "DROP SEQUENCE invoice_no"
    assert "drops sequence invoice_no with the number that it has reached" in made.losses


def test_a_sequence_changes_its_options(bench: Workbench, database: Database) -> None:
    """Only what differs is said, and the way back says what it was."""
    made = change(
        bench,
        database,
        with_sequence(increment=2, data_type=sa.BigInteger()),
        with_sequence(increment=5, maxvalue=99999, cycle=True),
    )
    assert made.operations == ("ALTER SEQUENCE invoice_no INCREMENT BY 5 MAXVALUE 99999 CYCLE",)
    assert "ALTER SEQUENCE invoice_no INCREMENT BY 2 MAXVALUE 9223372036854775807 NO CYCLE" in (
        bench.text()
    )


def test_sequences_of_columns_and_those_in_use_are_left_alone(
    bench: Workbench, database: Database
) -> None:
    """Serial, identity, another default, a view and an extension keep theirs."""
    bench.generate(without_sequence())
    bench.upgrade(database)
    database.execute(
        "create sequence used; alter table invoices add by_hand bigint default nextval('used');"
        "create sequence viewed; create view v as select last_value from viewed;"
        "create sequence owned owned by invoices.id; create sequence of_extension;"
        "create extension hstore; alter extension hstore add sequence of_extension"
    )
    assert bench.differences(database, without_sequence()) == [
        "drop column invoices.by_hand",
        "DROP SEQUENCE used",
    ]
    database.execute("create sequence alone")
    assert "DROP SEQUENCE alone" in bench.differences(database, without_sequence())


def test_a_sequence_in_another_schema(bench: Workbench, database: Database) -> None:
    """The schema is made for it, and both go back."""
    models = without_sequence()
    sa.Sequence("counter", metadata=models, schema="more")
    change(bench, database, without_sequence(), models)
    assert database.rows("select nextval('more.counter')") == [(1,)]


KEYS = {
    "named as by SERIAL": (sa.Sequence("users_id_seq"), "users_id_seq", True),
    "with options": (sa.Sequence("users_id_seq", start=7), "users_id_seq", False),
    "with a name": (sa.Sequence("people"), "people", False),
    "optional": (sa.Sequence("people", optional=True), "users_id_seq", True),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("way", ["generate", "push"])
def test_a_key_gets_the_sequence_that_the_models_name(
    bench: Workbench, database: Database, key: str, way: str
) -> None:
    """In one go, no second one beside it, and afterwards there is no difference.

    Where it is the one of SERIAL, rows that other programs insert get their numbers from it, too.
    """
    sequence, name, numbered = KEYS[key]
    models = sa.MetaData()
    sa.Table(
        "users",
        models,
        sa.Column("id", sa.Integer, sequence._copy(), primary_key=True),
        sa.Column("name", sa.Text),
    )
    if way == "generate":
        bench.generate(models)
        bench.upgrade(database)
    else:
        url = DatabaseURL.parse(database.url)
        push(bench.project, url, [models], answers=Answers(), force=False, confirm=bool)
    assert database.rows(
        "select relname::text from pg_class where relkind = 'S' and relname !~ '^automigrate'"
    ) == [(name,)]
    assert bench.differences(database, models) == []
    url = DatabaseURL.parse(database.url)
    assert differences(bench.project, url, [models]).found == ()
    engine = sa.create_engine(url.sqlalchemy_url(), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.insert(models.tables["users"]).values(name="Ada"))
    if numbered:
        database.execute("insert into users (name) values ('Grace')")
    first = sequence.start or 1
    numbers = [(first,), (first + 1,)] if numbered else [(first,)]
    assert database.rows("select id from users order by id") == numbers


def test_push_makes_types_sequences_and_checks(bench: Workbench, database: Database) -> None:
    """In one go for a new table, and then for one that exists; `diff` changes nothing."""

    def models(limit: int, *values: str) -> sa.MetaData:
        weight = pg.DOMAIN("weight", sa.Integer, check="VALUE > 0")
        made = goods(
            sa.Column("kind", sa.Enum(*values, name="kind")),
            sa.Column("weight", weight),
            sa.Column("stars", sa.Integer, sa.CheckConstraint(f"stars < {limit}", name="few")),
        )
        sa.Sequence("numbers", metadata=made, start=limit)
        return made

    url = DatabaseURL.parse(database.url)
    for wanted in (models(5, "a"), models(6, "a", "b")):
        before = database.dump_schema()
        assert differences(bench.project, url, [wanted]).found != ()
        assert database.dump_schema() == before
        pushed = push(
            bench.project, url, [wanted], answers=Answers(), force=False, confirm=lambda _: True
        )
        assert pushed.applied
        assert differences(bench.project, url, [wanted]).found == ()
    assert checks(database) == {"few": "CHECK ((stars < 6))"}
    assert "ALTER SEQUENCE numbers START WITH 6" in pushed.statements


def test_the_gate_has_nothing_to_say_of_the_safe_forms(bench: Workbench) -> None:
    """Neither ours nor squawk's rules complain about what `generate` writes by itself."""
    columns = (sa.Column("owner", sa.Text), sa.Column("of", sa.Integer))
    bench.generate(goods(*(column._copy() for column in columns)), "first")
    (first,) = bench.project.graph.heads
    rule = sa.CheckConstraint("price >= 0", name="rule")
    owner, of = columns
    owner.nullable, owner.index = False, True
    of.append_foreign_key(sa.ForeignKey("goods.id"))
    assert len(bench.generate(goods(owner, of, rule), "second").files) == 3
    gate = Gate(scripts=str(bench.directory), scratch=bench.scratch, lint_since=[first])
    assert [finding.message for finding in gate.run(["lint"])[-1].findings] == []


def test_the_gate_sees_what_the_revisions_lack(bench: Workbench) -> None:
    """A check and a sequence that only the models have turn `models` red."""
    bench.generate(goods(sa.CheckConstraint("price > 0", name="rule")))

    def found(models: sa.MetaData) -> list[str]:
        gate = Gate(scripts=str(bench.directory), scratch=bench.scratch, models=lambda _: [models])
        return [finding.message for finding in gate.run(["models"])[-1].findings]

    assert found(goods(sa.CheckConstraint("price > 0", name="rule"))) == []
    models = goods(sa.CheckConstraint("price > 1", name="rule"))
    sa.Sequence("numbers", metadata=models)
    said = "\n".join(found(models))
    assert "models and revisions differ: drop constraint rule on goods" in said
    wrong = goods(sa.CheckConstraint("prise > 1", name="rule"))
    assert "cannot be compared" in found(wrong)[0]
    for change in ("CREATE SEQUENCE numbers", "drop constraint rule", "add check constraint rule"):
        assert change in said
