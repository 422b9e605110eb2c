from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.errors import LockTimeoutError, UpgradeError
from automigrate.health.termination import (
    default_termination_log,
    termination_message,
    write_termination_log,
)
from automigrate.verdict import AppliedRevision, Holder, Outcome, UpgradeReport, Verdict

if TYPE_CHECKING:
    from pathlib import Path

REPORT = UpgradeReport(
    outcome=Outcome.MIGRATED,
    verdict=Verdict.BEHIND,
    heads=("c3",),
    applied=(AppliedRevision(revision="b2"), AppliedRevision(revision="c3")),
    seconds=12.34,
)


def test_a_good_end_says_what_was_done() -> None:
    """Outcome, number of revisions, time and heads."""
    assert termination_message(REPORT) == (
        "automigrate: migrated, 2 revisions applied in 12.3 s, database at c3"
    )


def test_a_bad_end_says_class_and_text_in_one_line() -> None:
    """The error's own words, without line breaks."""
    error = LockTimeoutError(holder=Holder(pid=7, application_name="web\n1"), waited_seconds=2.0)
    message = termination_message(error)
    assert message.startswith("automigrate: LockTimeoutError: the migration lock was not free")
    assert "\n" not in message


def test_a_long_message_is_cut_where_kubernetes_would_cut_it() -> None:
    """Never more than 4096 bytes, and never half a character."""
    error = UpgradeError(applied=(), failed="b2", pending=(), rolled_back=True, reason="ä" * 5000)
    assert 4000 < len(termination_message(error).encode()) <= 4096


def test_the_message_replaces_what_was_in_the_file(tmp_path: Path) -> None:
    """The file holds one line."""
    path = tmp_path / "log"
    path.write_text("older\n" * 10)
    assert write_termination_log(str(path), REPORT)
    assert path.read_text() == f"{termination_message(REPORT)}\n"


def test_a_file_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    """The run's own end counts, not its message."""
    assert not write_termination_log(str(tmp_path / "missing" / "log"), REPORT)
    assert not write_termination_log(None, REPORT)


def test_the_default_path_is_used_in_a_pod_only(tmp_path: Path) -> None:
    """Kubernetes is known by its variable and by the file that it mounts."""
    path = tmp_path / "termination-log"
    in_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert default_termination_log(in_pod, str(path)) is None
    path.touch()
    assert default_termination_log(in_pod, str(path)) == str(path)
    assert default_termination_log({}, str(path)) is None
