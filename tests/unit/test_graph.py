"""What the graph of the scripts tells, and which histories it refuses."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from automigrate.errors import BrokenHistoryError, ConfigurationError, MultipleHeadsError
from automigrate.scripts.graph import Revision, ScriptGraph


def revision(
    name: str,
    *downs: str,
    depends_on: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
) -> Revision:
    """Make a revision whose file is named after it."""
    return Revision(name, downs, depends_on, labels, f"versions/{name}.py")


def line(*names: str) -> list[Revision]:
    """Make revisions that are built on each other, oldest first."""
    return [revision(name, *names[index - 1 : index]) for index, name in enumerate(names)]


@pytest.fixture
def branches() -> ScriptGraph:
    """Two branches from their own bases; the second one depends on the first one's a2."""
    return ScriptGraph(
        [
            revision("a100", labels=("accounts",)),
            revision("a200", "a100"),
            revision("b100", labels=("billing",)),
            revision("b200", "b100", depends_on=("a200",)),
        ]
    )


def faults(*revisions: Revision) -> tuple[str, ...]:
    """Return the faults of a history that must be refused."""
    with pytest.raises(BrokenHistoryError) as caught:
        ScriptGraph(revisions)
    return caught.value.faults


def test_knows_its_revisions() -> None:
    """The graph is a container of its revisions in the order of the files."""
    graph = ScriptGraph(line("a1", "b2"))
    assert "a1" in graph
    assert "c3" not in graph
    assert graph["b2"].down_revisions == ("a1",)
    assert len(graph) == 2
    assert list(graph) == ["a1", "b2"]


def test_h20_real_heads_leave_out_dependencies(branches: ScriptGraph) -> None:
    """A head that another branch depends on is a head, but not one of the version table."""
    assert branches.heads == ("a200", "b200")
    assert branches.real_heads == ("b200",)
    assert branches.bases == ("a100", "b100")
    assert branches.effective_heads(branches) == {"b200"}


def test_a_dependency_of_a_lower_revision_is_not_repeated() -> None:
    """A dependency that a revision below already has is not a direct one."""
    graph = ScriptGraph(
        [
            revision("x1"),
            revision("a1", depends_on=("x1",)),
            revision("a2", "a1", depends_on=("x1",)),
            revision("b1", depends_on=("x1",)),
        ]
    )
    assert graph.dependencies_of("a1") == ("x1",)
    assert graph.dependencies_of("a2") == ("a1",)
    assert graph.dependencies_of("a2") == ("a1",)
    assert graph.dependencies_of("b1") == ("x1",)


def test_a_label_may_be_depended_on(branches: ScriptGraph) -> None:
    """depends_on may name a branch label."""
    graph = ScriptGraph(
        [revision("a1", labels=("base_tables",)), revision("b1", depends_on=("base_tables",))]
    )
    assert graph.dependencies_of("b1") == ("a1",)
    assert graph.real_heads == ("b1",)


def test_effective_heads_drop_what_another_stands_on(branches: ScriptGraph) -> None:
    """Of several revisions only those remain that no other one stands on."""
    assert branches.effective_heads(["a100", "b100"]) == {"a100", "b100"}
    assert branches.effective_heads(["a200", "b200", "b100"]) == {"b200"}
    assert branches.effective_heads([]) == frozenset()


def test_unknown_revisions_are_key_errors(branches: ScriptGraph) -> None:
    """A walk from a revision that no script defines is refused."""
    with pytest.raises(KeyError):
        branches.ancestors(["gone"])


def test_refuses_a_duplicate() -> None:
    """An id that two scripts define is refused with both files."""
    double = Revision("a1", file="versions/copy.py")
    (fault,) = faults(revision("a1"), double)
    assert fault == (
        "revision 'a1' is defined by 2 scripts: versions/a1.py, versions/copy.py. "
        "Delete the stale one, or give one of them a new id."
    )


def test_refuses_a_missing_down_revision() -> None:
    """A down_revision that no script defines is refused with the file and the nearest id."""
    (fault,) = faults(revision("abc123"), revision("b1", "abc124"))
    assert fault == (
        "versions/b1.py: down_revision names 'abc124', which no script defines. "
        "Restore the missing script, or correct the name (the nearest known is 'abc123')."
    )


def test_refuses_a_missing_dependency() -> None:
    """A depends_on that no script defines is refused."""
    (fault,) = faults(revision("b1", depends_on=("zzz",)))
    assert fault.startswith("versions/b1.py: depends_on names 'zzz', which no script defines.")
    assert "nearest" not in fault


def test_refuses_an_abbreviation_with_the_full_id() -> None:
    """Alembic takes whole ids in scripts only; the text gives the one that was meant."""
    (fault,) = faults(revision("abcdef"), revision("b1", depends_on=("abcd",)))
    assert "write 'abcdef'" in fault


def test_refuses_a_label_as_down_revision() -> None:
    """A down_revision cannot be a label; the text gives the id behind it."""
    (fault,) = faults(revision("a1", labels=("accounts",)), revision("b1", "accounts"))
    assert "It is a branch label: write 'a1'." in fault


@pytest.mark.parametrize("name", ["a-1", "a@1", "a+1"])
def test_refuses_reserved_characters(name: str) -> None:
    """An id with a character that targets use is refused, as in Alembic."""
    (fault,) = faults(revision(name))
    assert "reserves" in fault


def test_refuses_a_label_given_twice() -> None:
    """A label of two revisions is refused with both."""
    (fault,) = faults(revision("a1", labels=("x",)), revision("b1", labels=("x",)))
    assert fault == (
        "versions/b1.py: branch label 'x' is already a label of revision 'a1' (versions/a1.py). "
        "Rename the label."
    )


def test_refuses_a_label_that_is_an_id() -> None:
    """A label that is called like a revision is refused."""
    (fault,) = faults(revision("a1", labels=("b1",)), revision("b1"))
    assert "is already the id of revision 'b1'" in fault


def test_refuses_a_circle() -> None:
    """Revisions built on each other are refused with the members, those above it not named."""
    (fault,) = faults(
        revision("a1", "c1"), revision("b1", "a1"), revision("c1", "b1"), revision("d1", "c1")
    )
    assert fault.startswith("revisions a1 -> c1 -> b1 -> a1 are built on each other in a circle.")


def test_refuses_a_revision_built_on_itself() -> None:
    """The smallest circle is a revision that names itself."""
    (fault,) = faults(revision("a1", "a1"))
    assert fault.startswith("revisions a1 -> a1 ")


def test_refuses_a_circle_through_dependencies() -> None:
    """A circle of down_revision and depends_on is one too."""
    (fault,) = faults(revision("a1", depends_on=("b1",)), revision("b1", "a1"))
    assert "a1 -> b1 -> a1" in fault


def test_names_all_faults_at_once() -> None:
    """Every fault of a history is in one error."""
    found = faults(
        revision("a1"),
        revision("a1"),
        revision("b1", "gone"),
        revision("c1", "d1"),
        revision("d1", "c1"),
        revision("e1", labels=("a1",)),
    )
    assert len(found) == 4


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("heads", ("b200",)),
        ("base", ()),
        ("accounts@base", ()),
        ("a200", ("a200",)),
        ("a2", ("a200",)),
        ("billing", ("b100",)),
        ("bill", ("b100",)),
        ("accounts@head", ("a200",)),
        ("accounts@heads", ("a200",)),
        ("billing@heads", ("b200",)),
        ("accounts@a2", ("a200",)),
        ("a100+1", ("a200",)),
        ("a200-1", ("a100",)),
        ("accounts@a200-1", ("a100",)),
        ("billing@+1", ("b100",)),
    ],
)
def test_resolves_targets(branches: ScriptGraph, target: str, expected: tuple[str, ...]) -> None:
    """Each form of target means what it means to Alembic."""
    assert branches.resolve(target) == expected


def test_relative_targets_count_from_the_database(branches: ScriptGraph) -> None:
    """``+1`` begins at the current head, on a branch at what is applied of it."""
    assert branches.resolve("+1", current=["a100"]) == ("a200",)
    assert branches.resolve("billing@+1", current=["a100", "b100"]) == ("b200",)


def test_a_relative_target_begins_below_a_dependency() -> None:
    """On a branch whose revision another branch depends on, ``+1`` begins at that revision."""
    graph = ScriptGraph(
        [
            revision("a100", labels=("accounts",)),
            revision("a200", "a100"),
            revision("b100", depends_on=("a100",)),
        ]
    )
    assert graph.resolve("accounts@+1", current=["b100"]) == ("a200",)
    assert graph.downgrade_order(["b100"], "accounts@-1") == ("b100", "a100")


def test_h20_head_is_ambiguous_even_with_a_dependency(branches: ScriptGraph) -> None:
    """Alembic refuses ``head`` for two heads though one depends on the other; so do we."""
    with pytest.raises(MultipleHeadsError) as caught:
        branches.resolve("head")
    assert caught.value.heads == ("a200", "b200")
    assert caught.value.files == ("versions/a200.py", "versions/b200.py")


def test_a_head_of_a_branch_may_be_ambiguous() -> None:
    """``label@head`` with two heads on that branch is refused, ``label@heads`` is not."""
    graph = ScriptGraph(
        [revision("a1", labels=("main",)), revision("b1", "a1"), revision("c1", "a1")]
    )
    with pytest.raises(MultipleHeadsError):
        graph.resolve("main@head")
    with pytest.raises(MultipleHeadsError):
        graph.downgrade_order(["b1", "c1"], "heads")
    assert graph.resolve("main@heads") == ("b1", "c1")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("nothing", "no revision or branch is called 'nothing'"),
        ("accounts@b200", "'b200' is not on branch 'accounts'"),
        ("accounts@b2", "no revision or branch is called 'b2'"),
        ("nowhere@head", "no revision or branch is called 'nowhere'"),
        ("-1", "leads down"),
        ("a200+5", "past the last"),
        ("a100-5", "past the first"),
        ("base+1", "may be a100, b100"),
    ],
)
def test_refuses_targets(branches: ScriptGraph, target: str, text: str) -> None:
    """A target without a meaning is refused with the reason."""
    with pytest.raises(ConfigurationError, match=text):
        branches.resolve(target)


def test_refuses_an_ambiguous_beginning() -> None:
    """The beginning of several ids is refused with the ids."""
    graph = ScriptGraph(line("abcd1", "abcd2"))
    with pytest.raises(ConfigurationError, match="several names: 'abcd1', 'abcd2'"):
        graph.resolve("abcd")


def test_refuses_a_relative_target_from_several_heads(branches: ScriptGraph) -> None:
    """``+1`` from two current heads is ambiguous."""
    with pytest.raises(ConfigurationError, match="the database is at a100, b100"):
        branches.resolve("+1", current=["a100", "b100"])


def test_upgrades_oldest_first(branches: ScriptGraph) -> None:
    """What is pending comes in an order in which each revision finds what it stands on."""
    assert branches.upgrade_order([], ["b200"]) == ("a100", "a200", "b100", "b200")
    assert branches.upgrade_order(["a200"], ["b200"]) == ("b100", "b200")
    assert branches.upgrade_order(["b200"], ["a200"]) == ()


def test_follows_branches_one_after_the_other() -> None:
    """A diamond is applied one branch at a time, the merge last."""
    graph = ScriptGraph(
        [
            revision("a1"),
            revision("b1", "a1"),
            revision("b2", "b1"),
            revision("c1", "a1"),
            revision("c2", "c1"),
            revision("m1", "b2", "c2"),
        ]
    )
    assert graph.upgrade_order([], ["m1"]) == ("a1", "c1", "c2", "b1", "b2", "m1")
    assert graph.upgrade_order(["b2"], ["m1"]) == ("c1", "c2", "m1")
    assert graph.downgrade_order(["m1"], "a1") == ("m1", "b2", "b1", "c2", "c1")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("base", ("b200", "b100", "a200", "a100")),
        ("a100", ("b200", "a200")),
        ("-1", ("b200",)),
        ("b200-1", ("b200",)),
        ("-2", ("b200", "b100")),
        ("billing@base", ("b200", "b100")),
        ("billing@-1", ("b200",)),
        ("b200", ()),
        ("b100+1", ()),
        ("base-2", None),
    ],
)
def test_downgrades_newest_first(
    branches: ScriptGraph, target: str, expected: tuple[str, ...] | None
) -> None:
    """What stands on the target is reverted, whatever depends on it included."""
    if expected is None:
        with pytest.raises(ConfigurationError):
            branches.downgrade_order(["b200"], target)
    else:
        assert branches.downgrade_order(["b200"], target) == expected


def test_downgrades_one_branch_from_a_branch_point() -> None:
    """``label@revision`` reverts that branch alone."""
    graph = ScriptGraph(
        [revision("a1"), revision("b1", "a1", labels=("left",)), revision("c1", "a1")]
    )
    assert graph.downgrade_order(["b1", "c1"], "left@a1") == ("b1",)
    assert set(graph.downgrade_order(["b1", "c1"], "a1")) == {"b1", "c1"}


def test_steps_below_the_base_come_from_the_head() -> None:
    """``base-1`` counts from the head, as in Alembic."""
    assert ScriptGraph(line("a1", "b2")).downgrade_order(["b2"], "base-2") == ("b2",)


@pytest.mark.parametrize(
    ("current", "target", "text"),
    [
        (["a100"], "a200", "nothing that is applied"),
        (["a200"], "+1", "leads up"),
        (["a200"], "-9", "past the first"),
        (["a200"], "a200+9", "past the last"),
        ([], "-1", "there are 0 of them"),
        (["a100"], "billing@-1", "there are 0 of them"),
    ],
)
def test_refuses_downgrades(
    branches: ScriptGraph, current: list[str], target: str, text: str
) -> None:
    """A downgrade to what is not below the current heads is refused."""
    with pytest.raises(ConfigurationError, match=text):
        branches.downgrade_order(current, target)


def test_refuses_a_downgrade_off_the_branch() -> None:
    """``label@revision`` needs something of that branch above the revision."""
    graph = ScriptGraph(
        [revision("a1"), revision("b1", "a1"), revision("c1", "a1"), revision("d1", labels=("x",))]
    )
    with pytest.raises(ConfigurationError, match="nothing on branch 'x'"):
        graph.downgrade_order(["b1", "c1", "d1"], "x@a1")


def test_rolls_back_to_several_heads(branches: ScriptGraph) -> None:
    """Everything that an older release did not know is reverted, newest first."""
    assert branches.rollback_order(["b200"], ["a100", "b100"]) == ("b200", "a200")
    assert branches.rollback_order(["b200"], ["b200"]) == ()


def test_a_long_history_needs_neither_stack_nor_patience() -> None:
    """Ten thousand revisions with merges are ordered both ways well within seconds."""
    history = [revision("r0")]
    for number in range(1, 10_000, 3):
        below = f"r{number - 1}"
        left, right, merge = (f"r{number + step}" for step in range(3))
        history += [revision(left, below), revision(right, below), revision(merge, left, right)]
    started = time.monotonic()
    graph = ScriptGraph(history)
    up = graph.upgrade_order([], graph.real_heads)
    down = graph.downgrade_order(graph.real_heads, "base")
    assert len(up) == len(down) == len(history)
    assert up[0] == down[-1] == "r0"
    assert time.monotonic() - started < 5.0


def test_importing_the_graph_needs_no_library() -> None:
    """The graph is pure: neither Alembic nor SQLAlchemy is imported for it."""
    code = (
        "import sys, automigrate.scripts.graph; "
        "print({'alembic', 'sqlalchemy', 'psycopg'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
