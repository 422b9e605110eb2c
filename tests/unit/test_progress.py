"""What is to be seen on a terminal after each event."""

from __future__ import annotations

import io
from functools import reduce
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from automigrate.cli.bar import Bar
from automigrate.cli.progress import WAITING, Scene, after
from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    LockTaken,
    LockWaited,
    Phase,
    PhaseEntered,
    ProgressSeen,
    RevisionApplied,
    RevisionRetried,
    RevisionStarted,
    RunFailed,
    SchemaJudged,
)
from automigrate.verdict import Blocker, Holder, Status, Verdict

if TYPE_CHECKING:
    from automigrate.events import Event

WAITS = PhaseEntered(phase=Phase.WAITING_FOR_LOCK)
MIGRATES = PhaseEntered(phase=Phase.MIGRATING)
BLOCKED = BlockersSeen(
    revision="b", blockers=(Blocker(pid=7, application_name="report"),), waited_seconds=2.4
)


def begins(position: int = 2, direction: str = "upgrade") -> RevisionStarted:
    """The second of three revisions, by default."""
    return RevisionStarted(
        revision="b", message="add it", position=position, total=3, attempt=1, direction=direction
    )


def applied(position: int) -> RevisionApplied:
    """One of three is committed."""
    return RevisionApplied(
        revision="b", message="add it", position=position, total=3, seconds=1.0, attempt=1
    )


def seen(*events: Event) -> Scene | None:
    """What there is to see after some events."""
    return reduce(after, events, None)


@pytest.mark.parametrize(
    "event",
    [
        PhaseEntered(phase=Phase.STARTING),
        PhaseEntered(phase=Phase.CONNECTING),
        ConnectionRetried(reason="refused", attempt=1, wait_seconds=1.0),
        LockTaken(waited_seconds=0.0),
        SchemaJudged(status=Status(verdict=Verdict.CURRENT, current=(), wanted=())),
        LockWaited(holder=None, waited_seconds=0.0),
        BLOCKED,
    ],
)
def test_nothing_is_shown_before_there_is_something_to_do(event: Event) -> None:
    """A look alone draws nothing."""
    assert seen(event) is None


def test_a_wait_names_the_holder_and_ends_with_the_lock() -> None:
    """Who has the lock, until this process has it."""
    held = LockWaited(holder=Holder(pid=7, application_name="pod"), waited_seconds=1.0)
    assert seen(WAITS) == Scene(title=WAITING)
    assert seen(WAITS, held) == Scene(title=WAITING, detail="lock held by pod (backend pid 7)")
    assert seen(WAITS, held, LockTaken(waited_seconds=2.0)) is None


def test_a_revision_is_counted_when_it_is_committed() -> None:
    """Begun, it is the next; the last one ends the show."""
    assert seen(MIGRATES) == Scene(title="preparing")
    assert seen(MIGRATES, begins()) == Scene(title="b add it", done=1, total=3)
    assert seen(MIGRATES, begins(), BLOCKED, applied(2)) == Scene(title="b add it", done=2, total=3)
    assert seen(MIGRATES, begins(3), applied(3)) is None
    assert seen(MIGRATES, begins(), RunFailed(error=ValueError())) is None
    undone = seen(MIGRATES, begins(direction="downgrade"))
    assert undone is not None
    assert undone.title == "undoing b add it"


def test_what_the_server_shows_stands_below() -> None:
    """Phase and percent of an index, and whom it waits for, together; gone with a new attempt."""
    phase = ProgressSeen(revision="b", phase="scanning table", percent=41.7)
    scene = seen(begins(), phase, BLOCKED)
    assert scene is not None
    assert scene.details == (
        "index build: scanning table, 42 %",
        "has waited 2 s for report (pid 7)",
    )
    unmeasured = seen(begins(), ProgressSeen(revision="b", phase="initializing", percent=None))
    assert unmeasured is not None
    assert unmeasured.details == ("index build: initializing",)
    again = RevisionRetried(
        revision="b", reason="lock timeout", sqlstate="55P03", attempt=1, wait_seconds=0.5
    )
    retried = seen(begins(), BLOCKED, again)
    assert retried is not None
    assert retried.details == ("again in 0.5 s: lock timeout",)
    anew = seen(begins(), BLOCKED, again, begins())
    assert anew is not None
    assert not anew.details


@pytest.mark.parametrize("width", [32, 80])
def test_a_bar_keeps_to_its_lines_whatever_is_in_them(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and queries of other people cannot move the cursor, nor break the line."""
    monkeypatch.setenv("COLUMNS", str(width))
    evil = "a\x1b[2J[red]\r\nb " + "long " * 50
    scene = Scene(title=evil, done=1, total=3, detail=evil, blocked=evil)
    file = io.StringIO()
    console = Console(file=file, width=width, soft_wrap=True, force_terminal=False)
    console.print(Bar(lambda: (scene, 61.0)).drawn())
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert all(len(line.rstrip()) <= width for line in lines)
    assert "\x1b" not in file.getvalue()
    assert "1/3 0:01:01 a [2J" in lines[0]
    assert "[red] b long" in lines[1]
