"""The command line as far as it needs no database."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automigrate import __version__
from automigrate.__main__ import main
from automigrate.cli import output, reports, running
from automigrate.cli.group import COMMANDS
from automigrate.cli.settings import Settings, resolve
from automigrate.errors import ConfigurationError, LockTimeoutError, PendingError
from automigrate.verdict import (
    AppliedRevision,
    Holder,
    Outcome,
    Status,
    UpgradeReport,
    Verdict,
)

HOLDER = Holder(pid=4711, application_name="automigrate:web-1:7")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty directory without settings in the environment."""
    for name in list(os.environ):
        if name.startswith(("AUTOMIGRATE_", "DATABASE_URL", "PG")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["upgrade", "wait", "status"])
def test_a_missing_database_ends_with_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command refuses to guess a database."""
    assert main([command]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("automigrate: error: no database is named: give --database-url")
    assert captured.out == ""


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_both_ways_to_read_upgrade_refuse_alike(
    extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With and without click a wrong value gives the same text and code."""
    assert main(["upgrade", *extra, "--timeout", "soon", "--database-url", "x"]) == 2
    assert capsys.readouterr().err == (
        "automigrate: error: --timeout: 'soon' is no duration; write 90, 90s, 10m or 1h30m.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["upgrade", "--nope"], ["upgrade", "--timeout"], ["upgrade", "x"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What click refuses has the code of a configuration error."""
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(("Usage: automigrate", "Error: "))


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """All commands are named with what they do."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, summary) in COMMANDS.items():
        assert name in out
        assert summary.split()[0] in out


def test_the_commands_are_listed_by_name() -> None:
    """The help is searched by eye."""
    assert list(COMMANDS) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each name in the table leads to a command that explains itself and its settings."""
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: automigrate {name}" in out
    assert "--database-url" in out or name == "completion"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the release."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"automigrate, version {__version__}\n"


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError(["one thing.", "another thing."]),
        PendingError(current=["a"], wanted=["b"], revisions=["b"]),
        LockTimeoutError(holder=HOLDER, waited_seconds=5.0),
    ],
)
def test_an_error_becomes_its_text_and_its_code(
    error: ConfigurationError | PendingError | LockTimeoutError,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An error of ours is told in one message, without a traceback, notes included."""

    def action() -> int:
        error.add_note("and the connection could not be closed")
        raise error

    assert running.exit_code(action) == error.exit_code
    captured = capsys.readouterr()
    assert captured.err == (
        f"automigrate: error: {error}\nand the connection could not be closed\n"
    )
    assert captured.out == ""


def test_ctrl_c_ends_with_9(capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt outside of a run is a stop, not a bug."""

    def action() -> int:
        raise KeyboardInterrupt

    assert running.exit_code(action) == 9
    assert "stopped as asked" in capsys.readouterr().err


def test_a_bug_ends_with_1_and_hides_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected exception is shown with its traceback, scrubbed, and a request to report it."""
    settings = _settings("postgresql://app:s3cr3t-word@db/app")

    def action() -> int:
        raise RuntimeError("could not use postgresql://app:s3cr3t-word@db/app or s3cr3t-word")

    assert running.exit_code(action, settings) == 1
    err = capsys.readouterr().err
    assert "s3cr3t-word" not in err
    assert "RuntimeError: could not use postgresql://app:***@db/app or ***" in err
    assert "Traceback" in err
    assert f"this is a bug in automigrate {__version__}. Please report it" in err


def _settings(url: str) -> Settings:
    return resolve({"database_url": url}, {})


def test_an_embedded_database_needs_a_path() -> None:
    """`embedded:` alone is refused before any server is looked for."""
    settings = _settings("embedded:")
    with (
        pytest.raises(ConfigurationError, match="needs the path"),
        running.database_url(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("outcome", "verdict", "expected"),
    [
        (Outcome.UNCHANGED, Verdict.CURRENT, "nothing pending: the schema is at b (12 ms)"),
        (
            Outcome.UNCHANGED,
            Verdict.AHEAD,
            "nothing pending: the schema is at b; the database is ahead of this code (12 ms)",
        ),
        (Outcome.MIGRATED, Verdict.EMPTY, "applied 1 revision: the schema is at b (12 ms)"),
        (
            Outcome.WAITED,
            Verdict.BEHIND,
            f"waited 3.2 s while another process migrated {HOLDER}: the schema is at b (12 ms)",
        ),
        (Outcome.SKIPPED, Verdict.CURRENT, "skipped: the mode is off"),
    ],
)
def test_a_report_is_told_in_one_line(outcome: Outcome, verdict: Verdict, expected: str) -> None:
    """Each outcome has its own words."""
    report = UpgradeReport(
        outcome=outcome,
        verdict=verdict,
        heads=("b",),
        applied=(AppliedRevision(revision="b"),) if outcome is Outcome.MIGRATED else (),
        waited_for=HOLDER,
        waited_seconds=3.21,
        seconds=0.012,
    )
    assert reports.summary(report) == expected


def test_a_status_is_told_in_rows_without_empty_ones() -> None:
    """Facts that do not apply are left out."""
    status = Status(
        verdict=Verdict.BEHIND, current=(), wanted=("b",), pending=("a", "b"), holder=HOLDER
    )
    assert reports.status_rows(status) == [
        ("verdict", "behind"),
        ("database", "nothing"),
        ("code", "b"),
        ("pending", "2: a, b"),
        ("lock held by", "automigrate:web-1:7 (backend pid 4711)"),
    ]


def test_a_status_for_machines_says_whether_it_serves() -> None:
    """The JSON has the fields of the class and the answer that matters."""
    status = Status(verdict=Verdict.AHEAD, current=("c",), wanted=("b",), unknown=("c",))
    value = json.loads(json.dumps(reports.as_json(status)))
    assert value["verdict"] == "ahead"
    assert value["serves"] is True
    assert value["unknown"] == ["c"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "12 ms"), (3.44, "3.4 s"), (125.2, "2 min 5 s")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    """Milliseconds, seconds, minutes, each where it fits."""
    assert output.duration(seconds) == text


def _python(code: str, **more: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": str(root), **more}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
        timeout=60,
    )


def test_a_closed_stdout_does_not_change_the_exit_code() -> None:
    """`automigrate … | head` ends with the code of the result."""
    code = (
        "import os, sys\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
        "from automigrate.cli import output\n"
        "for _ in range(1000): output.line('x' * 1000)\n"
        "sys.exit(0)\n"
    )
    result = _python(code)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_missing_stdout_does_not_change_the_exit_code() -> None:
    """A process started without stdout can still run a command."""
    code = "import sys; sys.stdout = None\nfrom automigrate.cli import output\noutput.line('x')"
    assert _python(code).returncode == 0


def test_a_name_outside_of_the_encoding_is_printed_escaped() -> None:
    """No locale turns a right result into an encoding error."""
    code = (
        "import sys; from automigrate.__main__ import main\n"
        "main(['--version'])\n"
        "from automigrate.cli import output\noutput.line('größe'); sys.exit(0)\n"
    )
    result = _python(code, PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "gr\\xf6\\xdfe" in result.stdout


def test_colours_stay_off_where_they_are_not_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR, a dumb terminal and a pipe get plain text."""

    class Terminal:
        def isatty(self) -> bool:
            return True

    terminal: object = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.on_terminal(terminal)  # type: ignore[arg-type]  # all that is asked is isatty
    monkeypatch.setenv("TERM", "dumb")
    assert not output.on_terminal(terminal)  # type: ignore[arg-type]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.on_terminal(terminal)  # type: ignore[arg-type]
    assert not output.on_terminal(None)


def test_the_short_way_imports_no_library_of_the_long_way() -> None:
    """A plain `upgrade` reads its settings without click, rich, structlog or tenacity."""
    code = (
        "import sys\n"
        "from automigrate.__main__ import main\n"
        "assert main(['upgrade', '--timeout', 'soon']) == 2\n"
        "heavy = {'click', 'rich', 'structlog', 'tenacity', 'alembic', 'sqlalchemy', 'psycopg'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    assert _python(code).stdout == "[]\n"


def test_a_command_is_imported_only_when_it_runs() -> None:
    """The help and other commands do not import a command's module."""
    code = (
        "import sys\n"
        "from automigrate.__main__ import main\n"
        "main(['--help']); main(['wait'])\n"
        "print(sorted(m for m in sys.modules if m.startswith('automigrate.cli.')), file=sys.stderr)"
    )
    loaded = _python(code).stderr
    assert "automigrate.cli.wait" in loaded
    assert "automigrate.cli.status" not in loaded


def test_every_command_module_is_listed() -> None:
    """A module of this package with a command cannot be forgotten in the table."""
    folder = Path(importlib.import_module("automigrate.cli").__path__[0])
    with_command = {
        f"automigrate.cli.{path.stem}"
        for path in folder.glob("*.py")
        if "\ndef command(" in path.read_text()
    }
    assert with_command == {module for module, _ in COMMANDS.values()}
