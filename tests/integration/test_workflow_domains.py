"""What domains that exist demand: seen by what it says, changed in safe steps, undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from automigrate.database.url import DatabaseURL
from automigrate.errors import UpgradeError
from automigrate.workflow import comparison
from automigrate.workflow.answers import Answers
from automigrate.workflow.gate import Gate
from automigrate.workflow.generate import generate
from automigrate.workflow.live import differences, push
from tests.support.workflow import Workbench, benches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer
    from tests.support.servers import Database


@pytest.fixture
def bench(tmp_path: Path, server: EmbeddedServer) -> Iterator[Workbench]:
    """An empty project."""
    yield from benches(tmp_path, server)


def goods(kind: Any = None, **demands: Any) -> sa.MetaData:
    """Return models of one table, with a column of the domain `weight`."""
    models = sa.MetaData()
    sa.Table(
        "goods",
        models,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("weight", pg.DOMAIN("weight", kind or sa.Integer(), **demands)),
    )
    return models


def demands(database: Database, domain: str = "weight") -> tuple[Any, ...]:
    """Return default, NOT NULL and the checks of a domain, with whether they are proved."""
    ((default, not_null, checks),) = database.rows(
        "select typdefault, typnotnull, (select jsonb_object_agg(conname, "
        "pg_get_constraintdef(oid)) from pg_constraint where contypid = t.oid and contype = 'c') "
        f"from pg_type t where oid = '{domain}'::regtype"
    )
    return default, not_null, checks or {}


ALIKE: tuple[dict[str, Any], ...] = (
    {},
    {"data_type": sa.Numeric(8, 3), "check": "VALUE>=0 and value  < 1000", "default": "1.5"},
    {
        "data_type": sa.String(10),
        "check": "VALUE IN ('a', 'b%', 'c:d')",
        "default": sa.text("'a' || 'b'"),
    },
    {"data_type": sa.Text(), "check": "VALUE ~ '^\\d{5}$'", "not_null": True, "collation": "C"},
    {"data_type": sa.Integer(), "check": "VALUE > 0", "constraint_name": "rule"},
    {"data_type": sa.Integer(), "check": "VALUE > 0", "constraint_name": "full", "not_null": True},
    {"data_type": pg.ARRAY(sa.Text), "check": "cardinality(VALUE) > 0", "default": "{x}"},
    {"data_type": sa.DateTime(timezone=True), "default": sa.text("now()")},
)


def test_what_says_the_same_is_no_difference(bench: Workbench, database: Database) -> None:
    """Spelling, names that the server gives, and types that it writes in full do not count."""
    models = sa.MetaData()
    columns: list[sa.Column[Any]] = [
        sa.Column(f"c{number}", pg.DOMAIN(f"d{number}", **{"data_type": sa.Integer(), **given}))
        for number, given in enumerate(ALIKE)
    ]
    sa.Table("goods", models, *columns)
    bench.generate(models)
    bench.upgrade(database)
    assert bench.differences(database, models) == []
    assert bench.generate(models).files == ()


def test_a_restored_dump_has_no_difference(bench: Workbench, database: Database) -> None:
    """The server writes a check in another way when it reads its own spelling again."""
    models = goods(sa.String(10), check="VALUE IN ('a', 'b')")
    bench.generate(models)
    bench.upgrade(database)
    before = demands(database)[2]["weight_check"]
    database.execute("alter domain weight drop constraint weight_check")
    database.execute(f"alter domain weight add constraint weight_check {before}")
    assert demands(database)[2]["weight_check"] != before
    assert bench.differences(database, models) == []


def test_a_new_check_is_added_not_valid_and_validated(bench: Workbench, database: Database) -> None:
    """New values are looked at from the first revision on, old ones by the second."""
    bench.generate(goods())
    bench.upgrade(database)
    database.execute("insert into goods values (1, 1)")
    models = goods(check="VALUE > 0")
    first, second = bench.generate(models).files
    adding, back = first.read_text().split("def downgrade")
    assert "ADD CONSTRAINT weight_check CHECK (VALUE > 0) NOT VALID" in adding
    assert "DROP CONSTRAINT weight_check" in back
    proving, back = second.read_text().split("def downgrade")
    assert "ALTER DOMAIN weight VALIDATE CONSTRAINT weight_check" in proving
    assert "NOT VALID" in back
    bench.upgrade(database)
    assert demands(database) == (None, False, {"weight_check": "CHECK ((VALUE > 0))"})
    assert bench.differences(database, models) == []


def test_old_values_that_break_a_check_stop_the_second_revision(
    bench: Workbench, database: Database
) -> None:
    """The first one stays, and what it demands counts for what is written from then on."""
    bench.generate(goods())
    bench.upgrade(database)
    database.execute("insert into goods values (1, -1)")
    bench.generate(goods(check="VALUE > 0"))
    with pytest.raises(UpgradeError, match="contains values that violate the new constraint"):
        bench.upgrade(database)
    assert demands(database)[2] == {"weight_check": "CHECK ((VALUE > 0)) NOT VALID"}
    database.execute("update goods set weight = 1")
    assert len(bench.upgrade(database)) == 1


CHANGES: tuple[tuple[dict[str, Any], dict[str, Any], list[str]], ...] = (
    (
        {"check": "VALUE > 0"},
        {"check": "VALUE > 1"},
        [
            "ALTER DOMAIN weight DROP CONSTRAINT weight_check",
            "ALTER DOMAIN weight ADD CONSTRAINT weight_check CHECK (VALUE > 1)",
        ],
    ),
    (
        {"check": "VALUE > 0"},
        {"check": "VALUE > 0", "constraint_name": "of: 100%"},
        ['ALTER DOMAIN weight RENAME CONSTRAINT weight_check TO "of: 100%"'],
    ),
    (
        {"check": "VALUE > 0", "constraint_name": "rule"},
        {"check": "VALUE > 1", "constraint_name": "more"},
        [
            "ALTER DOMAIN weight DROP CONSTRAINT rule",
            "ALTER DOMAIN weight ADD CONSTRAINT more CHECK (VALUE > 1)",
        ],
    ),
    (
        {"default": "3"},
        {"default": "4", "not_null": True},
        ["ALTER DOMAIN weight SET DEFAULT 4", "ALTER DOMAIN weight SET NOT NULL"],
    ),
    (
        {"default": "3", "not_null": True, "check": "VALUE > 0"},
        {},
        [
            "ALTER DOMAIN weight DROP DEFAULT",
            "ALTER DOMAIN weight DROP NOT NULL",
            "ALTER DOMAIN weight DROP CONSTRAINT weight_check",
        ],
    ),
    (
        {"kind": sa.String(9), "check": "VALUE IN ('a', 'b')", "constraint_name": "one of"},
        {"kind": sa.String(9), "check": "VALUE IN ('a', 'b', 'c:d%')"},
        [
            'ALTER DOMAIN weight DROP CONSTRAINT "one of"',
            "ALTER DOMAIN weight ADD CONSTRAINT weight_check CHECK (VALUE IN ('a', 'b', 'c:d%'))",
        ],
    ),
)


@pytest.mark.parametrize("change", range(len(CHANGES)))
def test_each_change_of_a_domain_is_written_and_undone(
    bench: Workbench, database: Database, change: int
) -> None:
    """Afterwards there is no difference; down and up again the gate sees the same schema."""
    before, after, statements = CHANGES[change]
    bench.generate(goods(**before))
    bench.upgrade(database)
    models = goods(**after)
    made = bench.generate(models)
    assert list(made.operations) == statements
    bench.upgrade(database)
    assert bench.differences(database, models) == []
    gate = Gate(scripts=str(bench.directory), scratch=bench.scratch, models=lambda _: [models])
    ran = gate.run(["round-trip", "models", "lint"])
    rules = {finding.rule for check in ran for finding in check.findings}
    # VALIDATE and SET NOT NULL of a domain do block writes.
    assert {rule for rule in rules if not rule.startswith("squawk/")} <= {"scan-under-lock"}


def test_push_brings_a_domain_to_the_models_in_one_go(bench: Workbench, database: Database) -> None:
    """`diff`, which touches nothing, sees the same before, and nothing afterwards."""
    url = DatabaseURL.parse(database.url)
    bench.generate(goods(check="VALUE > 0"))
    bench.upgrade(database)
    wanted = goods(check="VALUE > 1", default="3", not_null=True)
    before = database.dump_schema()
    found = differences(bench.project, url, [wanted]).found
    assert database.dump_schema() == before
    pushed = push(
        bench.project, url, [wanted], answers=Answers(), force=False, confirm=lambda _: True
    )
    assert pushed.statements == found
    assert "NOT NULL of domain weight reads all tables that use it" in pushed.warnings[0]
    assert demands(database) == ("3", True, {"weight_check": "CHECK ((VALUE > 1))"})
    assert differences(bench.project, url, [wanted]).found == ()


def test_a_check_that_the_models_lack_is_dropped_with_a_warning(
    bench: Workbench, database: Database
) -> None:
    """Somebody may have meant it; env.py can leave the domain out."""
    bench.generate(goods(check="VALUE > 0"))
    bench.upgrade(database)
    database.execute("alter domain weight add constraint by_hand check (value < 99) not valid")
    proposal = bench.proposal(database, goods(check="VALUE > 0"))
    assert proposal.described() == ["ALTER DOMAIN weight DROP CONSTRAINT by_hand"]
    assert proposal.warnings == [
        "check by_hand of domain weight is dropped, because the models do not declare it."
    ]


def test_the_type_of_a_domain_is_a_difference_that_nothing_mends(
    bench: Workbench, database: Database
) -> None:
    """`diff` and `check` see it, `generate` says what to do, and that works."""
    bench.generate(goods(sa.Numeric(8, 3), check="VALUE > 0"))
    bench.upgrade(database)
    models = goods(sa.Numeric(9, 3), check="VALUE > 1")
    url = DatabaseURL.parse(database.url)
    told = "domain weight is numeric(8,3) in the database and numeric(9,3) in the models"
    (found,) = differences(bench.project, url, [models]).found
    assert found.startswith(told)
    gate = Gate(scripts=str(bench.directory), scratch=bench.scratch, models=lambda _: [models])
    assert told in gate.run(["models"])[-1].findings[0].message
    made = bench.generate(models)
    assert made.files == ()
    assert "give the models' domain a new name" in made.warnings[0]

    database.execute("insert into goods values (1, 2)")
    renamed = sa.MetaData()
    mass = pg.DOMAIN("mass", sa.Numeric(9, 3), check="VALUE > 1")
    key = sa.Column("id", sa.Integer, primary_key=True)
    sa.Table("goods", renamed, key, sa.Column("weight", mass))
    bench.generate(renamed)
    bench.upgrade(database)
    assert bench.differences(database, renamed) == []
    assert database.rows("select to_regtype('weight')") == [(None,)]


def test_values_in_arrays_are_not_proved(bench: Workbench, database: Database) -> None:
    """PostgreSQL does not look into them: a check counts for new values, NOT NULL cannot be set."""

    def crates(**demands: Any) -> sa.MetaData:
        models = sa.MetaData()
        weights = pg.ARRAY(pg.DOMAIN("weight", sa.Integer, **demands))
        sa.Table("crates", models, sa.Column("weights", weights))
        return models

    bench.generate(crates())
    bench.upgrade(database)
    database.execute("insert into crates values ('{-1}')")
    (file,) = bench.generate(crates(check="VALUE > 0")).files
    assert "CHECK (VALUE > 0) NOT VALID" in file.read_text()
    bench.upgrade(database)
    assert bench.differences(database, crates(check="VALUE > 0")) == []
    with pytest.raises(Exception, match="violates check constraint"):
        database.execute("insert into crates values ('{-2}')")
    made = bench.generate(crates(check="VALUE > 0", not_null=True))
    assert made.files == ()
    assert "PostgreSQL cannot set that while an array" in made.warnings[0]


def test_a_domain_that_the_server_refuses_is_told(bench: Workbench, database: Database) -> None:
    """What cannot be compared is a warning, not a difference."""
    bench.generate(goods(check="VALUE > 0"))
    bench.upgrade(database)
    proposal = bench.proposal(database, goods(check="VALUE > missing(1)"))
    assert proposal.empty
    assert "domain weight cannot be compared" in proposal.warnings[0]
    assert "missing" in proposal.warnings[0]


def test_domains_are_made_of_domains_and_of_sequences(bench: Workbench, database: Database) -> None:
    """Each comes after what it needs, and goes before it; its downgrade makes the same again."""
    models = sa.MetaData()
    sa.Sequence("numbers", metadata=models)
    number = pg.DOMAIN(
        "number", sa.Integer, check="VALUE > 0", default=sa.text("nextval('numbers')")
    )
    few = pg.DOMAIN("few", number, check="VALUE < 9", not_null=True)
    of = pg.DOMAIN("letters", sa.String(9), check="VALUE IN ('a', 'b')")
    sa.Table("goods", models, sa.Column("few", few), sa.Column("of", of))
    bench.generate(models)
    bench.upgrade(database)
    assert bench.differences(database, models) == []
    gone = sa.MetaData()
    bench.generate(gone)
    gate = Gate(scripts=str(bench.directory), scratch=bench.scratch, models=lambda _: [gone])
    ran = gate.run(["round-trip", "models"])
    assert [finding for check in ran for finding in check.findings] == []
    bench.upgrade(database)
    assert bench.differences(database, gone) == []
    assert database.rows("select to_regtype('few'), to_regtype('number')") == [(None, None)]


def test_types_in_a_schema_of_their_own(bench: Workbench, database: Database) -> None:
    """The schema is made for them, though no table is in it; they are compared like others."""

    def models(limit: int) -> sa.MetaData:
        made = sa.MetaData()
        weight = pg.DOMAIN("weight", sa.Integer, schema="Kinds", check=f"VALUE > {limit}")
        mood = sa.Enum("sad", "glad", name="mood", schema="moods")
        sa.Table("goods", made, sa.Column("weight", weight), sa.Column("mood", mood))
        return made

    bench.generate(models(0))
    bench.upgrade(database)
    assert bench.differences(database, models(0)) == []
    bench.generate(models(1))
    bench.upgrade(database)
    assert demands(database, '"Kinds".weight')[2] == {"weight_check": "CHECK ((VALUE > 1))"}
    assert bench.differences(database, models(1)) == []


def test_a_domain_is_left_out_where_the_project_says_so(bench: Workbench) -> None:
    """`include_object` is asked about the kind `domain`, with the models' type."""
    bench.generate(goods(check="VALUE > 0"))
    asked: list[tuple[str, str | None]] = []

    def included(item: Any, name: str | None, kind: str, *_: Any) -> bool:
        if kind == "domain":
            asked.append((type(item).__name__, name))
        return kind != "domain"

    models = goods(check="VALUE > 1")
    configured = {**comparison.configured(), "include_object": lambda *_: included}
    rehearsal = bench.rehearsal(models, configured=configured)
    assert generate(bench.project, rehearsal, "more").files == ()
    assert asked == [("DOMAIN", "weight")]
    assert len(bench.generate(models).files) == 2
