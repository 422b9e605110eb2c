"""The judgement: heads, graph and journal in, verdict or error out."""

from __future__ import annotations

from typing import Any

import pytest

from automigrate.errors import (
    AheadError,
    AutomigrateError,
    DivergedError,
    IncompatibleError,
    InterruptedRevisionError,
    ModifiedError,
    PendingError,
    UnmanagedError,
)
from automigrate.options import AheadPolicy, Mode, ModifiedPolicy, Options
from automigrate.plan import JournalEntry, Observed, decide, judge
from automigrate.scripts.graph import ScriptGraph
from automigrate.scripts.lineage import Revision
from automigrate.verdict import Holder, Status, Verdict

LINE = ScriptGraph(
    [
        Revision("a"),
        Revision("b", down_revisions=("a",)),
        Revision("c", down_revisions=("b",)),
    ]
)
HOLDER = Holder(pid=7, application_name="other")


def entry(
    revision: str,
    *down: str,
    state: str = "applied",
    direction: str = "upgrade",
    compatible: bool = True,
    checksum: str | None = None,
) -> JournalEntry:
    """Make a journal row."""
    return JournalEntry(
        id=1,
        revision=revision,
        down_revisions=down,
        state=state,
        direction=direction,
        compatible=compatible,
        checksum=checksum,
    )


def at(*heads: str, journal: tuple[JournalEntry, ...] = (), holder: Holder | None = None) -> Status:
    """Judge a database with a version table against the line a, b, c."""
    open_revisions = tuple(item.revision for item in journal if item.open)
    observed = Observed(
        version_table=True,
        heads=heads,
        journal=journal,
        open_revisions=open_revisions,
        holder=holder,
    )
    return judge(LINE, ("c",), observed)


# Verdicts


def test_no_tables_at_all_is_empty() -> None:
    """Everything is pending on an empty database."""
    status = judge(LINE, ("c",), Observed(version_table=False))
    assert status.verdict is Verdict.EMPTY
    assert status.pending == ("a", "b", "c")
    assert not status.serves


def test_tables_without_version_table_are_unmanaged() -> None:
    """Nobody says at which revision these tables are."""
    status = judge(LINE, ("c",), Observed(version_table=False, tables=True))
    assert status.verdict is Verdict.UNMANAGED
    assert status.pending == ()


def test_an_empty_version_table_is_behind() -> None:
    """A version table without a row is the beginning of a managed database."""
    status = at()
    assert status.verdict is Verdict.BEHIND
    assert status.pending == ("a", "b", "c")
    assert status.detail == "3 revisions pending"


def test_a_known_ancestor_is_behind() -> None:
    """What lies between the heads is pending, in order."""
    status = at("b")
    assert status.verdict is Verdict.BEHIND
    assert status.pending == ("c",)
    assert status.detail == "1 revision pending"


def test_the_wanted_heads_are_current() -> None:
    """Nothing is pending and the application may serve."""
    status = at("c", holder=HOLDER)
    assert (status.verdict, status.detail, status.pending) == (Verdict.CURRENT, "", ())
    assert status.serves
    assert status.holder == HOLDER


def test_a_database_past_its_target_is_current() -> None:
    """With an older target there is nothing to apply, and it is said why."""
    observed = Observed(version_table=True, heads=("c",))
    status = judge(LINE, ("a",), observed)
    assert status.verdict is Verdict.CURRENT
    assert status.detail == "the database is past the target"


def test_a_head_that_another_depends_on_is_not_wanted() -> None:
    """With `depends_on` the version table rightly lacks what is depended on (H20)."""
    graph = ScriptGraph(
        [
            Revision("a1"),
            Revision("a2", down_revisions=("a1",)),
            Revision("b1"),
            Revision("b2", down_revisions=("b1",), depends_on=("a2",)),
        ]
    )
    assert judge(graph, ("b2",), Observed(version_table=True, heads=("b2",))).verdict is (
        Verdict.CURRENT
    )


# Unknown heads


def test_unknown_heads_built_on_ours_are_ahead() -> None:
    """The journal knows the newer revisions, down to one of ours."""
    status = at("e", journal=(entry("d", "c"), entry("e", "d")))
    assert status.verdict is Verdict.AHEAD
    assert status.unknown == ("d", "e")
    assert status.serves


def test_a_newer_merge_of_known_and_unknown_branches_is_ahead() -> None:
    """Every line that a newer merge joins ends in the journal or in our scripts."""
    journal = (entry("d1", "c"), entry("d2", "c"), entry("e", "d1", "d2"))
    assert at("e", journal=journal).verdict is Verdict.AHEAD


def test_a_diamond_of_newer_revisions_is_walked_once() -> None:
    """Two newer branches from one newer revision name it twice."""
    journal = (entry("d", "c"), entry("e1", "d"), entry("e2", "d"), entry("f", "e1", "e2"))
    assert at("f", journal=journal).unknown == ("d", "e1", "e2", "f")


def test_an_unknown_head_beside_our_own_is_ahead() -> None:
    """A newer release with a second branch leaves what we want in place."""
    assert at("c", "x", journal=(entry("x"),)).verdict is Verdict.AHEAD


def test_a_newer_revision_may_exclude_older_code() -> None:
    """One incompatible revision among the newer ones is enough."""
    status = at("e", journal=(entry("d", "c", compatible=False), entry("e", "d")))
    assert status.verdict is Verdict.INCOMPATIBLE
    assert "d declared" in status.detail
    assert not status.serves


def test_unknown_heads_without_a_journal_are_diverged() -> None:
    """Nothing is known of them, so nothing is assumed."""
    status = at("x")
    assert status.verdict is Verdict.DIVERGED
    assert status.unknown == ("x",)
    assert "does not know what x is built on" in status.detail


def test_unknown_heads_beside_ours_are_diverged() -> None:
    """Revisions built on an older one of ours lack what we want."""
    status = at("x", journal=(entry("x", "b"),))
    assert status.verdict is Verdict.DIVERGED
    assert "not built on c of this code" in status.detail


@pytest.mark.parametrize(
    "row",
    [
        entry("x", "c", direction="downgrade"),
        entry("x", "c", state="reverted"),
        entry("x", "c", state="running"),
        entry("x", "c", state="failed"),
    ],
    ids=["downgrade", "reverted", "running", "failed"],
)
def test_only_applied_rows_prove_anything(row: JournalEntry) -> None:
    """A revision that the journal does not have as applied is not trusted."""
    assert at("x", journal=(row,)).verdict is Verdict.DIVERGED


# Interruptions


@pytest.mark.parametrize("state", ["running", "failed"])
def test_an_open_row_is_an_interruption(state: str) -> None:
    """A revision began, and the version table does not say that it ended."""
    status = at("b", journal=(entry("c", "b", state=state),))
    assert status.verdict is Verdict.INTERRUPTED
    assert status.interrupted == ("c",)
    assert status.pending == ("c",)


def test_an_open_row_is_work_in_progress_while_another_holds_the_lock() -> None:
    """Only the holder may call it an interruption."""
    status = at("b", journal=(entry("c", "b", state="running"),), holder=HOLDER)
    assert status.verdict is Verdict.BEHIND


def test_an_open_row_that_was_not_there_at_the_look_is_work_in_progress() -> None:
    """A row that appeared between the look and the journal belongs to somebody at work."""
    observed = Observed(
        version_table=True, heads=("b",), journal=(entry("c", "b", state="running"),)
    )
    assert judge(LINE, ("c",), observed).verdict is Verdict.BEHIND


def test_the_version_table_settles_an_open_row() -> None:
    """Plain Alembic has finished the revision since."""
    assert at("c", journal=(entry("c", "b", state="running"),)).verdict is Verdict.CURRENT


def test_a_later_row_settles_an_open_one() -> None:
    """What counts is the latest application of a revision."""
    journal = (entry("c", "b", state="failed"), entry("c", "b", state="reverted"))
    assert at("b", journal=journal).verdict is Verdict.BEHIND


def test_an_open_downgrade_of_an_applied_revision_is_an_interruption() -> None:
    """A downgrade that did not finish leaves the revision in the version table."""
    row = entry("c", "b", state="running", direction="downgrade")
    assert at("c", journal=(row,)).verdict is Verdict.INTERRUPTED
    assert at("b", journal=(row,)).verdict is Verdict.BEHIND


def test_an_open_row_of_a_newer_release_is_not_ours_to_judge() -> None:
    """Code that does not know the revision could not repair it, and need not."""
    assert at("c", journal=(entry("d", "c", state="running"),)).verdict is Verdict.CURRENT


def test_an_interruption_before_the_version_table_is_seen() -> None:
    """The first revision of all may have been the one that was interrupted."""
    observed = Observed(
        version_table=False,
        tables=True,
        open_revisions=("a",),
        journal=(entry("a", state="running"),),
    )
    assert judge(LINE, ("c",), observed).verdict is Verdict.INTERRUPTED


# Modified scripts


def test_a_changed_checksum_is_modified() -> None:
    """Only known and different checksums of applied upgrades count, the latest of each."""
    journal = (
        entry("a", checksum="1"),
        entry("b", checksum="old"),
        entry("b", checksum="2"),
        entry("c", checksum=None),
        entry("gone", checksum="9"),
        entry("a", checksum="0", direction="downgrade"),
        entry("a", checksum="0", state="reverted"),
    )
    observed = Observed(version_table=True, heads=("c",), journal=journal)
    same = {"a": "1", "b": "2", "c": "3"}
    assert judge(LINE, ("c",), observed, checksums=same).verdict is Verdict.CURRENT
    status = judge(LINE, ("c",), observed, checksums={**same, "a": "x", "b": "y"})
    assert status.verdict is Verdict.MODIFIED
    assert status.modified == ("a", "b")
    assert status.serves


# What follows


def given(verdict: Verdict, **more: Any) -> Status:
    """Make a status with a verdict."""
    return Status(verdict=verdict, current=("b",), wanted=("c",), **more)


DEFAULT = Options()
CHECK = Options(mode=Mode.CHECK)


@pytest.mark.parametrize(
    ("verdict", "options", "expected"),
    [
        (Verdict.CURRENT, DEFAULT, False),
        (Verdict.CURRENT, CHECK, False),
        (Verdict.BEHIND, DEFAULT, True),
        (Verdict.EMPTY, DEFAULT, True),
        (Verdict.BEHIND, Options(mode=Mode.WAIT), True),
        (Verdict.AHEAD, DEFAULT, False),
        (Verdict.AHEAD, CHECK, False),
        (Verdict.MODIFIED, DEFAULT, False),
        (Verdict.INTERRUPTED, DEFAULT, True),
    ],
)
def test_what_is_served_or_acted_on(verdict: Verdict, options: Options, expected: bool) -> None:
    """`True` means that there is something to apply, `False` that the application may serve."""
    assert decide(given(verdict), options) is expected


@pytest.mark.parametrize(
    ("verdict", "options", "kind"),
    [
        (Verdict.BEHIND, CHECK, PendingError),
        (Verdict.EMPTY, CHECK, PendingError),
        (Verdict.AHEAD, Options(on_ahead=AheadPolicy.REFUSE), AheadError),
        (Verdict.INCOMPATIBLE, DEFAULT, IncompatibleError),
        (Verdict.DIVERGED, DEFAULT, DivergedError),
        (Verdict.UNMANAGED, DEFAULT, UnmanagedError),
        (Verdict.MODIFIED, Options(on_modified=ModifiedPolicy.REFUSE), ModifiedError),
        (Verdict.BEHIND, Options(on_modified=ModifiedPolicy.REFUSE), ModifiedError),
        (Verdict.MODIFIED, CHECK, ModifiedError),
        (Verdict.INTERRUPTED, CHECK, InterruptedRevisionError),
    ],
)
def test_what_is_refused(verdict: Verdict, options: Options, kind: type[AutomigrateError]) -> None:
    """Each refusal has its own class."""
    status = given(verdict, unknown=("x",), modified=("a",), interrupted=("c",), pending=("c",))
    assert type(decide(status, options)) is kind


def test_a_refusal_names_heads_and_revisions() -> None:
    """The error carries what the text says, as values."""
    error = decide(given(Verdict.BEHIND, pending=("c",)), CHECK)
    assert isinstance(error, PendingError)
    assert (error.current, error.wanted, error.revisions) == (("b",), ("c",), ("c",))
    assert "revisions are pending (c)" in str(error)
