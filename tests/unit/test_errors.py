"""The tree of errors: codes, texts, pickling, and the documents that repeat them."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

from automigrate import errors
from automigrate.errors import (
    AheadError,
    AutomigrateError,
    BackupError,
    BrokenHistoryError,
    ConfigurationError,
    DatabaseUnavailableError,
    DivergedError,
    IncompatibleError,
    InterruptedRevisionError,
    LockTimeoutError,
    ModifiedError,
    MultipleHeadsError,
    PendingError,
    PermissionDeniedError,
    PoolerError,
    RecoveryError,
    RollbackRefusedError,
    SchemaMismatchError,
    ScriptError,
    ScriptImportError,
    StepTimeoutError,
    StoppedError,
    UnmanagedError,
    UpgradeError,
    names,
)
from automigrate.verdict import Blocker, Holder

HOLDER = Holder(pid=7, application_name="web-1", since="2026-01-01T00:00:00+00:00", client="::1")
MISMATCHES = [
    kind(current=["a"], wanted=["b"], revisions=["b"], detail="why")
    for kind in (
        AheadError,
        DivergedError,
        IncompatibleError,
        ModifiedError,
        PendingError,
        SchemaMismatchError,
        UnmanagedError,
    )
]
EXAMPLES: list[AutomigrateError] = [
    *MISMATCHES,
    AutomigrateError("x"),
    BackupError(reason="pg_dump is missing", remedy="Install it."),
    BrokenHistoryError("versions/a.py names a down_revision that no file defines; add it."),
    ConfigurationError(["one fault.", "another fault."]),
    DatabaseUnavailableError(reason="connection refused", attempts=3, waited_seconds=12.34),
    InterruptedRevisionError(revision="b", left=["index i is invalid", "table t exists"]),
    LockTimeoutError(holder=HOLDER, waited_seconds=5.0),
    LockTimeoutError(holder=None, waited_seconds=5.0),
    MultipleHeadsError(heads=["a", "b"], files=["a.py", "b.py"]),
    PermissionDeniedError(reason="password authentication failed"),
    PoolerError(reason="PgBouncer shares connections", remedy="Give a direct URL."),
    RecoveryError("x"),
    RollbackRefusedError(["b is irreversible", "c drops a table"], remedy="Restore a backup."),
    ScriptError("no scripts"),
    ScriptImportError(file="versions/a.py", reason="SyntaxError: invalid syntax"),
    StepTimeoutError(
        applied=["a"],
        failed="b",
        pending=["b", "c"],
        rolled_back=True,
        reason="lock timeout",
        blockers=[Blocker(pid=9, application_name="report", user="r", state="active", query="q")],
    ),
    StoppedError(applied=["a"], pending=["b", "c"]),
    UpgradeError(
        applied=["a"], failed="b", pending=["b"], rolled_back=False, reason="ValueError: x"
    ),
]
KINDS = [getattr(errors, name) for name in errors.__all__]
ROOT = Path(__file__).parents[2]


def test_every_error_has_an_example_here() -> None:
    """A new error cannot go untested."""
    assert {type(error) for error in EXAMPLES} == set(KINDS)
    defined = inspect.getmembers(errors, inspect.isclass)
    assert {kind for _, kind in defined if issubclass(kind, AutomigrateError)} == set(KINDS)


def _drawn(text: str) -> dict[str, tuple[str | None, int | None]]:
    """Read a drawn tree: name → name of its parent, and the code beside it."""
    found: dict[str, tuple[str | None, int | None]] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"^([\s│├└─]*)(\w+Error)\b\s*(\d+)?", line)
        if not match:
            continue
        depth, name = len(match[1]), match[2]
        while above and above[-1][0] >= depth:
            above.pop()
        code = int(match[3]) if match[3] else None
        found[name] = (above[-1][1] if above else None, code)
        above.append((depth, name))
    return found


def test_the_drawn_tree_is_the_tree() -> None:
    """The docstring of the module draws exactly the classes, their parents and their codes."""
    drawn = _drawn(errors.__doc__ or "")
    assert set(drawn) == set(errors.__all__)
    for name, (parent, code) in drawn.items():
        kind = getattr(errors, name)
        assert parent == (None if kind is AutomigrateError else kind.__mro__[1].__name__)
        if code is not None:
            assert kind.exit_code == code
        elif parent is not None:
            assert kind.exit_code == getattr(errors, parent).exit_code


def test_the_readme_has_the_same_exit_codes() -> None:
    """README's table names each code with the error that stands for it, and no other."""
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `(\w+)`", readme, flags=re.MULTILINE)
    own = {
        (str(kind.exit_code), kind.__name__)
        for kind in KINDS
        if "exit_code" in vars(kind) and kind is not AutomigrateError
    }
    assert set(rows) == own
    assert len(rows) == len(own)


def test_codes_are_not_used_twice() -> None:
    """Each branch of the tree has a code of its own."""
    codes = [kind.exit_code for kind in KINDS if "exit_code" in vars(kind)]
    assert sorted(codes) == list(range(1, 11))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: AutomigrateError) -> None:
    """Errors cross process borders whole: pools and test runners pickle them."""
    error.add_note("noted")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


@pytest.mark.parametrize("error", MISMATCHES, ids=lambda error: type(error).__name__)
def test_a_mismatch_names_both_sides(error: SchemaMismatchError) -> None:
    """The text says where the database is, what the code wants, why, and what to do."""
    text = str(error)
    assert "(b); why. The database is at a, the code wants b. " in text
    assert text.endswith(error._remedy)


def test_a_lock_timeout_names_the_holder() -> None:
    """The text says who held the lock and since when."""
    error = LockTimeoutError(holder=HOLDER, waited_seconds=5.0)
    assert "within 5.0 s: held by web-1 (backend pid 7, from ::1, since 2026-01-01" in str(error)
    assert error.holder is HOLDER


def test_an_unavailable_database_tells_attempts_and_time() -> None:
    """The text counts what was tried."""
    error = DatabaseUnavailableError(reason="connection refused.", attempts=3, waited_seconds=12.34)
    assert "after 3 attempts in 12.3 s: connection refused. Check that" in str(error)
    assert "after 1 attempt in" in str(DatabaseUnavailableError(reason="x"))


def test_a_failed_revision_tells_what_became_of_it() -> None:
    """Rolled back as a whole, or partly committed: the text says which, and what stays."""
    whole = UpgradeError(applied=["a"], failed="b", pending=["b"], rolled_back=True, reason="x.")
    assert "revision b failed: x. It was rolled back as a whole. 1 applied before" in str(whole)
    part = UpgradeError(applied=[], failed="b", pending=["b"], rolled_back=False, reason="x")
    assert "A part of it is committed, and the journal says so." in str(part)
    down = UpgradeError(
        applied=[], failed="b", pending=["b"], rolled_back=True, reason="x", direction="downgrade"
    )
    assert "the downgrade of revision b failed" in str(down)


def test_a_step_timeout_names_the_blockers() -> None:
    """The text says which session was in the way."""
    [error] = [error for error in EXAMPLES if isinstance(error, StepTimeoutError)]
    assert "lock timeout; blocked by report (pid 9, user r, active, query: q)" in str(error)


def test_several_faults_are_a_line_each() -> None:
    """Configuration faults come together, readably."""
    assert str(ConfigurationError(["one.", "two."])) == "one.\ntwo."
    assert ConfigurationError("one.").faults == ("one.",)


def test_an_interrupted_revision_tells_what_is_left() -> None:
    """The text lists what is left and both ways out."""
    text = str(InterruptedRevisionError(revision="b", left=["index i is invalid"]))
    assert "index i is invalid" in text
    assert "`automigrate repair b --applied`" in text
    assert "`automigrate repair b --not-applied`" in text


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], "nothing"),
        (["a", "b"], "a, b"),
        (list("abcdefg"), "a, b, c, d, e, … (7 in all)"),
    ],
)
def test_names_are_joined(items: list[str], expected: str) -> None:
    """Long lists are cut and counted."""
    assert names(items) == expected
