"""The command line as processes, on a real database."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.projects import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Database

ROOT = Path(__file__).parents[2]
LONG = 60.0
SLOW = 'op.execute("select pg_sleep(30)")'
CONNECTED = "application_name like 'automigrate%'"
SLEEPING = "state = 'active' and query like '%pg_sleep(30)%'"


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """A project of three revisions."""
    return Project.linear(tmp_path / "shop", 3)


def environment(**more: str) -> dict[str, str]:
    """Return the environment without settings, plus some."""
    foreign = ("AUTOMIGRATE_", "DATABASE_URL", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **more}


def command(*arguments: str) -> list[str]:
    """Return the command line of the tool."""
    return [sys.executable, "-m", "automigrate", *arguments]


def run(*arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        timeout=LONG,
    )


def events(stderr: str) -> list[str]:
    """Return the names of the events in a JSON log."""
    return [json.loads(line)["event"] for line in stderr.splitlines() if line.startswith("{")]


def until(condition: str, database: Database) -> None:
    """Wait until a count in the catalog, other sessions of this database only, is not zero."""
    query = (
        "select count(*) from pg_stat_activity where datname = current_database() "
        f"and pid <> pg_backend_pid() and {condition}"
    )
    deadline = time.monotonic() + LONG
    while database.rows(query) == [(0,)]:
        if time.monotonic() > deadline:
            pytest.fail(f"never came true: {condition}")
        time.sleep(0.02)


@contextlib.contextmanager
def started(*arguments: str, cwd: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command, and kill it if the test leaves it running."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_upgrade_applies_and_then_finds_nothing_to_do(shop: Project, database: Database) -> None:
    """The first run applies everything, the second says so in one line and logs nothing."""
    arguments = ("upgrade", "--database-url", database.url, "--script-location", str(shop.scripts))
    first = run(*arguments)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("automigrate: applied 3 revisions: the schema is at r0003 (")
    assert events(first.stderr).count("automigrate.revision_applied") == 3
    second = run(*arguments)
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.startswith("automigrate: nothing pending: the schema is at r0003 (")


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_both_ways_to_read_the_arguments_do_the_same(
    shop: Project, database: Database, extra: list[str]
) -> None:
    """With and without click the same settings reach the engine."""
    result = run(
        "upgrade", *extra, "--target", "r0002", cwd=shop.directory, DATABASE_URL=database.url
    )
    assert result.returncode == 0, result.stderr
    assert database.rows("select version_num from alembic_version") == [("r0002",)]
    if extra:
        report = json.loads(result.stdout)
        assert (report["outcome"], report["heads"]) == ("migrated", ["r0002"])
        assert [step["revision"] for step in report["applied"]] == ["r0001", "r0002"]


def test_settings_come_from_pyproject(shop: Project, database: Database) -> None:
    """A project needs no flag when its pyproject.toml says everything."""
    (shop.directory / "pyproject.toml").write_text(
        f"[tool.automigrate]\ndatabase-url = '{database.url}'\nscript-location = 'migrations'\n"
    )
    below = shop.directory / "src"
    below.mkdir()
    assert run("upgrade", cwd=below).returncode == 0
    assert run("check", cwd=below).returncode == 0


def test_status_judges_without_failing(shop: Project, database: Database) -> None:
    """Whatever the verdict is, status shows it and exits 0."""
    (shop.directory / "env").write_text("")
    before = run("status", cwd=shop.directory, DATABASE_URL=database.url)
    assert before.returncode == 0, before.stderr
    assert before.stdout.splitlines()[:4] == [
        "verdict: empty",
        "database: nothing",
        "code: r0003",
        "pending: 3: r0001, r0002, r0003",
    ]
    run("upgrade", cwd=shop.directory, DATABASE_URL=database.url)
    after = run("status", "--json", cwd=shop.directory, DATABASE_URL=database.url)
    status = json.loads(after.stdout)
    assert (status["verdict"], status["current"], status["serves"]) == ("current", ["r0003"], True)


def test_check_refuses_what_is_pending(shop: Project, database: Database) -> None:
    """`check` ends with 6 and names what is pending; after an upgrade it ends with 0."""
    refused = run("check", cwd=shop.directory, DATABASE_URL=database.url)
    assert refused.returncode == 6
    assert "automigrate: error: revisions are pending" in refused.stderr
    run("upgrade", cwd=shop.directory, DATABASE_URL=database.url)
    accepted = run("check", cwd=shop.directory, DATABASE_URL=database.url)
    assert (accepted.returncode, accepted.stdout) == (
        0,
        "automigrate: current: the schema is at r0003\n",
    )


def test_wait_ends_when_another_process_has_migrated(shop: Project, database: Database) -> None:
    """`wait` applies nothing itself, and ends with 0 once the schema is right."""
    with started("wait", "--json", cwd=shop.directory, DATABASE_URL=database.url) as waiting:
        until(CONNECTED, database)
        assert run("upgrade", cwd=shop.directory, DATABASE_URL=database.url).returncode == 0
        out, _ = waiting.communicate(timeout=LONG)
    assert waiting.returncode == 0
    assert json.loads(out)["applied"] == []


def test_wait_gives_up_at_its_timeout(shop: Project, database: Database) -> None:
    """A schema that nobody makes right ends `wait` with 6."""
    result = run("wait", "--timeout", "300ms", cwd=shop.directory, DATABASE_URL=database.url)
    assert result.returncode == 6
    assert "revisions are pending" in result.stderr
    assert database.rows("select to_regclass('alembic_version')") == [(None,)]


def test_the_mode_off_does_nothing(shop: Project) -> None:
    """AUTOMIGRATE_MODE=off skips everything, the connection included."""
    result = run(
        "upgrade",
        cwd=shop.directory,
        DATABASE_URL="postgresql://nowhere.invalid/x",
        AUTOMIGRATE_MODE="off",
    )
    assert (result.returncode, result.stdout) == (0, "automigrate: skipped: the mode is off\n")


def test_no_server_ends_with_4(shop: Project) -> None:
    """A server that cannot be reached within the timeout is named."""
    result = run(
        "upgrade",
        "--timeout",
        "0",
        cwd=shop.directory,
        DATABASE_URL="postgresql://app:hunter22@127.0.0.1:1/app",
    )
    assert result.returncode == 4
    assert "no usable connection" in result.stderr
    assert "hunter22" not in result.stderr


def test_a_failing_revision_ends_with_8(shop: Project, database: Database) -> None:
    """The message is for people, the log entry for machines; both name the revision."""
    shop.add("r0004", upgrade='op.execute("select 1 / 0")')
    result = run("upgrade", cwd=shop.directory, DATABASE_URL=database.url)
    assert result.returncode == 8
    assert "automigrate: error: revision r0004 failed" in result.stderr
    assert "division by zero" in result.stderr
    assert "Traceback" not in result.stderr
    assert events(result.stderr)[-1] == "automigrate.run_failed"
    assert database.rows("select version_num from alembic_version") == [("r0003",)]


def test_a_failed_revision_is_told_once_to_a_person(shop: Project, database: Database) -> None:
    """The console log leaves it to the last lines."""
    shop.add("r0004", upgrade='op.execute("select 1 / 0")')
    result = run(
        "upgrade", "--log-format", "console", cwd=shop.directory, DATABASE_URL=database.url
    )
    assert result.returncode == 8
    assert result.stderr.count("division by zero") == 1, result.stderr
    assert "automigrate: error: revision r0004 failed" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("arguments", [["--grace", "200ms"], []])
@pytest.mark.fault
def test_a_signal_ends_a_run_with_9(
    shop: Project, database: Database, number: signal.Signals, arguments: list[str]
) -> None:
    """After the grace, or at the second signal, the revision at work is rolled back."""
    shop.add("r0004", upgrade=f'op.execute("create table half (id int)")\n{SLOW}')
    with started("upgrade", *arguments, cwd=shop.directory, DATABASE_URL=database.url) as process:
        until(SLEEPING, database)
        start = time.monotonic()
        process.send_signal(number)
        if not arguments:
            time.sleep(0.3)  # the two must not merge into one
            process.send_signal(number)
        _, err = process.communicate(timeout=LONG)
    assert process.returncode == 9, err
    assert time.monotonic() - start < 15
    assert "automigrate: error: stopped as asked" in err
    assert database.rows("select version_num from alembic_version") == [("r0003",)]
    assert database.rows("select to_regclass('half')") == [(None,)]


@pytest.mark.fault
def test_a_signal_lets_the_revision_finish_within_the_grace(
    shop: Project, database: Database
) -> None:
    """The first signal stops at the boundary: what runs is committed, what follows is not begun."""
    shop.add("r0004", upgrade='op.execute("select pg_sleep(2) /* pg_sleep(30) */")')
    shop.add("r0005")
    with started("upgrade", cwd=shop.directory, DATABASE_URL=database.url) as process:
        until(SLEEPING, database)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LONG)
    assert process.returncode == 9
    assert database.rows("select version_num from alembic_version") == [("r0004",)]


def test_probes_are_answered_while_the_command_runs(
    shop: Project, database: Database, tmp_path: Path
) -> None:
    """`--health-port` is alive and not ready, and the termination message tells the end."""
    shop.add("r0004", upgrade=SLOW)
    told = tmp_path / "termination"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--health-port", str(port), "--health-host", "127.0.0.1", "--grace", "100ms"]
    arguments += ["--termination-log", str(told)]
    with started("upgrade", *arguments, cwd=shop.directory, DATABASE_URL=database.url) as process:
        until(SLEEPING, database)
        assert answered(port, "/livez") == 200
        assert answered(port, "/readyz") == 503
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LONG)
    assert process.returncode == 9
    assert told.read_text().startswith("automigrate: StoppedError: stopped as asked")


def test_the_termination_message_tells_what_was_done(
    shop: Project, database: Database, tmp_path: Path
) -> None:
    """One line: outcome, revisions and heads."""
    told = tmp_path / "termination"
    ran = run(
        "upgrade",
        "--termination-log",
        str(told),
        cwd=shop.directory,
        DATABASE_URL=database.url,
    )
    assert ran.returncode == 0, ran.stderr
    message = told.read_text()
    assert message.startswith("automigrate: migrated, 3 revisions applied in ")
    assert message.strip().endswith("database at r0003")


def answered(port: int, path: str) -> int:
    """Return the status of a probe."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_broken_pipe_is_no_failure(shop: Project, database: Database) -> None:
    """`automigrate … | head` ends with the code of the result."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        result = subprocess.run(
            command("upgrade"),
            cwd=shop.directory,
            env=environment(DATABASE_URL=database.url),
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
            timeout=LONG,
        )
    assert result.returncode == 0, result.stderr


def test_nothing_pending_imports_no_library_of_the_long_way(
    shop: Project, database: Database
) -> None:
    """The start of a container whose schema is right imports no library but psycopg."""
    run("upgrade", cwd=shop.directory, DATABASE_URL=database.url)
    code = (
        "import sys; from automigrate.__main__ import main\n"
        "assert main(['upgrade', '--timeout', '10s']) == 0\n"
        "heavy = {'alembic', 'click', 'rich', 'sqlalchemy', 'structlog', 'tenacity'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=shop.directory,
        env=environment(DATABASE_URL=database.url),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_embedded_names_a_server_of_our_own(shop: Project) -> None:
    """`embedded:PATH` starts PostgreSQL from the wheel, and keeps the data."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)  # run by root, the server has another account
        url = f"embedded:{directory}/pg"
        first = run("upgrade", "--database-url", url, cwd=shop.directory)
        assert first.returncode == 0, first.stderr
        second = run("check", "--database-url", url, cwd=shop.directory)
        assert second.stdout == "automigrate: current: the schema is at r0003\n", second.stderr


def on_a_terminal(arguments: list[str], cwd: Path, **more: str) -> str:
    """Run a command on a pseudo-terminal and return what it shows."""
    master, slave = pty.openpty()
    shown = environment(TERM="xterm", COLUMNS="100", **more)
    del shown["NO_COLOR"]
    with subprocess.Popen(
        command(*arguments), cwd=cwd, env=shown, stdout=slave, stderr=slave, stdin=slave
    ) as process:
        os.close(slave)
        text = b"".join(_read(master))
        process.wait(LONG)
    os.close(master)
    return text.decode()


def _read(master: int) -> Iterator[bytes]:
    while select.select([master], [], [], LONG)[0]:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the other side is closed
            return
        if not chunk:
            return
        yield chunk


def test_a_terminal_gets_colours_and_readable_logs(shop: Project, database: Database) -> None:
    """On a terminal the log is in words, the table and errors are coloured."""
    url = {"DATABASE_URL": database.url}
    error = on_a_terminal(["check"], shop.directory, **url)
    assert "\x1b[" in error
    assert "revisions are pending" in error
    log = on_a_terminal(["upgrade"], shop.directory, **url)
    assert "automigrate.revision_applied" in log
    assert '{"' not in log
    table = on_a_terminal(["status"], shop.directory, **url)
    assert "\x1b[" in table
    assert "current" in table
