"""Whatever is wrong with what automigrate is given is told by class, exit code, text and remedy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import automigrate
from tests.support.projects import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers import Database

SECRET = "hunter2-xyzzy"
TIMEOUT = 1.5


@dataclass(kw_only=True)
class Given:
    """What is given to automigrate; a case spoils one thing of it."""

    database: Database
    project: Project
    url: str = ""
    scripts: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.url = self.url or self.database.url
        self.scripts = self.scripts or str(self.project.scripts)
        self.project.extend(2)

    def log_in(self, **changes: str) -> None:
        """Give the URL over TCP, as the superuser but for the changes."""
        parameters = psycopg.conninfo.conninfo_to_dict(self.database.tcp_url) | changes
        user, password = parameters["user"], parameters.get("password") or ""
        self.url = (
            f"postgresql://{user}:{password}@{parameters['host']}:{parameters['port']}"
            f"/{parameters['dbname']}"
        )


def malformed_url(given: Given) -> None:
    """The port is a word."""
    given.url = f"postgresql://app:{SECRET}@localhost:many/app"


def other_database(given: Given) -> None:
    """The URL is MySQL's."""
    given.url = f"mysql://app:{SECRET}@localhost/app"


def no_server(given: Given) -> None:
    """Nothing listens on the port."""
    given.url = f"postgresql://app:{SECRET}@127.0.0.1:9/app"


def no_such_host(given: Given) -> None:
    """The name does not resolve."""
    given.url = f"postgresql://app:{SECRET}@no-such-host.invalid/app"


def wrong_password(given: Given) -> None:
    """The server refuses the password."""
    given.log_in(password=SECRET)


def missing_role(given: Given) -> None:
    """Nobody is called like that."""
    given.log_in(user="nobody_called_this", password=SECRET)


def missing_database(given: Given) -> None:
    """No database is called like that."""
    given.log_in(dbname="no_such_database")


def no_privilege(given: Given) -> None:
    """The role may connect, and create nothing."""
    role = f"guest_{given.database.name}"[:60]
    given.database.execute(f"create role {role} login password '{SECRET}'")
    given.database.execute("revoke create on schema public from public")
    given.log_in(user=role, password=SECRET)


def read_only_server(given: Given) -> None:
    """Every transaction is read-only, as on a standby or a full disk of a managed service."""
    given.database.execute(
        f"alter database {given.database.name} set default_transaction_read_only = on"
    )


def no_schema(given: Given) -> None:
    """The search_path names no schema."""
    given.database.execute(f"alter database {given.database.name} set search_path = nowhere")


def missing_directory(given: Given) -> None:
    """The script directory is not there."""
    given.scripts += "-elsewhere"


def empty_directory(given: Given) -> None:
    """There are no scripts in it."""
    for revision in list(given.project.revisions):
        given.project.remove(revision)


def syntax_error(given: Given) -> None:
    """The body of a pending script does not compile."""
    path = given.project.revisions["r0002"]
    path.write_text(path.read_text().replace("def downgrade() -> None:", "def downgrade( -> None:"))


def script_raises(given: Given) -> None:
    """A pending script raises when it is imported."""
    path = given.project.revisions["r0002"]
    path.write_text(path.read_text() + f"\nraise RuntimeError('setting password={SECRET} lacks')\n")


def upgrade_raises(given: Given) -> None:
    """The upgrade() of a script raises."""
    given.project.add("r0003", upgrade=f"raise RuntimeError('setting password={SECRET} lacks')")


def failing_statement(given: Given) -> None:
    """A statement of a script fails."""
    given.project.add("r0003", upgrade='op.execute("insert into nowhere values (1)")')


def duplicate_revision(given: Given) -> None:
    """Two scripts have the same identifier."""
    first = given.project.revisions["r0002"]
    first.with_name("r0002_again.py").write_text(first.read_text())


def unknown_down_revision(given: Given) -> None:
    """A script is built on one that is not there."""
    given.project.add("r0003", down="r9999")


def cycle(given: Given) -> None:
    """Two scripts are built on each other."""
    given.project.add("r0003", down="r0004")
    given.project.add("r0004", down="r0003")


def two_heads(given: Given) -> None:
    """Two scripts are built on the same one."""
    given.project.add("r0003", down="r0001")


def unmanaged(given: Given) -> None:
    """There are tables and no version table."""
    given.database.execute("create table customer (id integer primary key)")


def ahead(given: Given) -> None:
    """A newer release has upgraded the database, and policy refuses to serve on it."""
    automigrate.upgrade(given.url, given.scripts)
    given.project.remove("r0002")
    given.options["on_ahead"] = "refuse"


def incompatible(given: Given) -> None:
    """A newer release has upgraded the database and excludes this one."""
    given.project.add("r0003", extra_module_code="automigrate_compatible = False")
    automigrate.upgrade(given.url, given.scripts)
    given.project.remove("r0003")


def diverged(given: Given) -> None:
    """The version table names a revision of which nothing is known."""
    automigrate.upgrade(given.url, given.scripts)
    given.database.execute("update alembic_version set version_num = 'f00dcafe'")


def interrupted(given: Given) -> None:
    """A revision failed after it had committed a part of its work."""
    given.project.add(
        "r0003",
        upgrade="""
            op.execute("create table half (id integer)")
            with op.get_context().autocommit_block():
                op.execute("vacuum half")
            raise RuntimeError("half-way")
        """,
    )
    with pytest.raises(automigrate.UpgradeError):
        automigrate.upgrade(given.url, given.scripts)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to spoil the input, and what must be said about it."""

    spoil: Callable[[Given], None]
    error: type[automigrate.AutomigrateError]
    exit_code: int
    says: str
    """What happened, as a pattern."""
    remedy: str
    """What to do next, as a pattern."""


CASES = (
    Case(
        spoil=malformed_url,
        error=automigrate.ConfigurationError,
        exit_code=2,
        says="the port in the database URL is not a number",
        remedy="Percent-encode",
    ),
    Case(
        spoil=other_database,
        error=automigrate.ConfigurationError,
        exit_code=2,
        says="automigrate is for PostgreSQL, and the database URL begins with mysql://",
        remedy="Write it as postgresql://",
    ),
    Case(
        spoil=no_server,
        error=automigrate.DatabaseUnavailableError,
        exit_code=4,
        says=r"after \d+ attempts in \d+\.\d s: .*refused",
        remedy="Check that the server runs",
    ),
    Case(
        spoil=no_such_host,
        error=automigrate.DatabaseUnavailableError,
        exit_code=4,
        says=r"no usable connection to the database after \d+ attempt",
        remedy="host, port and database are right",
    ),
    Case(
        spoil=wrong_password,
        error=automigrate.PermissionDeniedError,
        exit_code=4,
        says="password authentication failed for user",
        remedy="Check user and password",
    ),
    Case(
        spoil=missing_role,
        error=automigrate.PermissionDeniedError,
        exit_code=4,
        says='authentication failed for user "nobody_called_this"',
        remedy="Check user and password",
    ),
    Case(
        spoil=missing_database,
        error=automigrate.PermissionDeniedError,
        exit_code=4,
        says='database "no_such_database" does not exist',
        remedy="[Dd]atabase",
    ),
    Case(
        spoil=no_privilege,
        error=automigrate.PermissionDeniedError,
        exit_code=4,
        says="permission denied for schema public",
        remedy="grant create on schema public",
    ),
    Case(
        spoil=read_only_server,
        error=automigrate.DatabaseUnavailableError,
        exit_code=4,
        says="read-only server, and there are revisions to apply",
        remedy="primary|writ",
    ),
    Case(
        spoil=no_schema,
        error=automigrate.PermissionDeniedError,
        exit_code=4,
        says="no schema of the search_path exists",
        remedy="Create the schema, or name one",
    ),
    Case(
        spoil=missing_directory,
        error=automigrate.ScriptError,
        exit_code=3,
        says="the script directory .*migrations-elsewhere does not exist",
        remedy="correct the path",
    ),
    Case(
        spoil=empty_directory,
        error=automigrate.ScriptError,
        exit_code=3,
        says="there is no migration script in",
        remedy="include them as package data",
    ),
    Case(
        spoil=syntax_error,
        error=automigrate.ScriptImportError,
        exit_code=3,
        says=r"r0002.*\.py cannot be loaded: syntax error in line \d+",
        remedy="Correct the script; the database was not changed by it",
    ),
    Case(
        spoil=script_raises,
        error=automigrate.ScriptImportError,
        exit_code=3,
        says=r"r0002.*\.py cannot be loaded: RuntimeError: setting",
        remedy="Correct the script; the database was not changed by it",
    ),
    Case(
        spoil=upgrade_raises,
        error=automigrate.UpgradeError,
        exit_code=8,
        says="revision r0003 failed: RuntimeError: .*rolled back as a whole.*2 applied before",
        remedy="Correct the script or the data and start again",
    ),
    Case(
        spoil=failing_statement,
        error=automigrate.UpgradeError,
        exit_code=8,
        says='revision r0003 failed: UndefinedTable: relation "nowhere" does not exist',
        remedy="Correct the script or the data and start again",
    ),
    Case(
        spoil=duplicate_revision,
        error=automigrate.BrokenHistoryError,
        exit_code=3,
        says=r"r0002.*r0002_again\.py",
        remedy="[Gg]ive|[Dd]elete|[Rr]emove",
    ),
    Case(
        spoil=unknown_down_revision,
        error=automigrate.BrokenHistoryError,
        exit_code=3,
        says="r9999",
        remedy="[Cc]orrect|[Rr]estore|[Aa]dd",
    ),
    Case(
        spoil=cycle,
        error=automigrate.BrokenHistoryError,
        exit_code=3,
        says="r0003.*r0004|r0004.*r0003",
        remedy="[Cc]orrect|[Bb]reak|[Cc]hange",
    ),
    Case(
        spoil=two_heads,
        error=automigrate.MultipleHeadsError,
        exit_code=3,
        says=r"2 heads: r0002 \(.*r0002.*\.py\), r0003",
        remedy="automigrate merge",
    ),
    Case(
        spoil=unmanaged,
        error=automigrate.UnmanagedError,
        exit_code=6,
        says="the database has tables but no version table",
        remedy="stamp|baseline",
    ),
    Case(
        spoil=ahead,
        error=automigrate.AheadError,
        exit_code=6,
        says=r"the database is ahead of this code \(r0002\).*at r0002.*wants r0001",
        remedy="Deploy the newer release, or roll the database back",
    ),
    Case(
        spoil=incompatible,
        error=automigrate.IncompatibleError,
        exit_code=6,
        says="r0003 declared that older code must not run on it",
        remedy="Deploy the newer release, or roll the database back",
    ),
    Case(
        spoil=diverged,
        error=automigrate.DivergedError,
        exit_code=6,
        says="the journal does not know what f00dcafe is built on",
        remedy="Check that the URL names the right database",
    ),
    Case(
        spoil=interrupted,
        error=automigrate.InterruptedRevisionError,
        exit_code=7,
        says="r0003 was interrupted after .*vacuum half.*half-way",
        remedy="automigrate repair r0003 --applied",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.spoil.__name__)
def test_bad_input_has_its_error_exit_code_and_remedy(
    case: Case, database: Database, project: Project
) -> None:
    """Function and command line agree; the text names what is wrong and what to do."""
    given = Given(database=database, project=project)
    case.spoil(given)
    before = database.dump_schema()
    with pytest.raises(case.error) as raised:
        automigrate.upgrade(given.url, given.scripts, timeout=TIMEOUT, **given.options)
    text = " ".join(str(raised.value).split())
    assert type(raised.value) is case.error
    assert raised.value.exit_code == case.exit_code
    assert re.search(case.says, text), text
    assert re.search(case.remedy, text), text
    if case.exit_code != 8:
        assert database.dump_schema() == before

    done = command_line(given)
    assert done.returncode == case.exit_code, done.stderr
    told = " ".join(done.stderr.split())
    assert re.search(case.remedy, told), told
    assert "Traceback" not in told
    for written in (text, told, repr(raised.value), done.stdout):
        assert SECRET not in written
        assert "secret of the superuser" not in written
    if SECRET in given.url:
        assert SECRET not in causes(raised.value)


def command_line(given: Given) -> subprocess.CompletedProcess[str]:
    """Run `automigrate upgrade` with the same input."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.options.items()]
    foreign = ("AUTOMIGRATE_", "DATABASE_URL", "PG")
    return subprocess.run(
        [
            sys.executable,
            *("-m", "automigrate", "upgrade"),
            *("--database-url", given.url),
            *("--script-location", given.scripts),
            *("--timeout", str(TIMEOUT)),
            *flags,
        ],
        cwd=given.project.directory,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            "PYTHONPATH": os.pathsep.join(sys.path),
            "COLUMNS": "200",
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def causes(error: BaseException | None) -> str:
    """Return the texts of all errors behind an error, as a traceback would show them."""
    import traceback

    return "".join(traceback.format_exception(error)) if error is not None else ""


def test_refusals_do_not_wait(database: Database, project: Project) -> None:
    """What waiting cannot help, such as a wrong password, is told at once."""
    given = Given(database=database, project=project)
    wrong_password(given)
    started = time.monotonic()
    with pytest.raises(automigrate.PermissionDeniedError) as raised:
        automigrate.upgrade(given.url, given.scripts, timeout=60.0)
    assert time.monotonic() - started < 5.0
    assert raised.value.attempts == 1


def test_every_fault_of_the_options_is_told_at_once() -> None:
    """Three wrong options are three faults of one error, before any input or output."""
    with pytest.raises(automigrate.ConfigurationError) as raised:
        automigrate.upgrade(
            "postgresql://nowhere.invalid/x", "nowhere", timeout=-1.0, mode="sometimes", target=""
        )
    assert len(raised.value.faults) == 3
    assert raised.value.exit_code == 2


def test_a_database_of_another_kind_is_refused_by_class_name(tmp_path: Path) -> None:
    """An object that is no database is named by its class, never by its value."""
    with pytest.raises(automigrate.ConfigurationError, match=r"a builtins\.dict cannot be used"):
        automigrate.upgrade({"password": SECRET}, Project.linear(tmp_path, 1).scripts)
