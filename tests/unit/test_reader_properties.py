"""The reader and the graph agree with Alembic on random histories, written in every form."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from alembic.script import ScriptDirectory
from alembic.script.revision import is_revision
from alembic.util import CommandError
from hypothesis import HealthCheck, given, settings, strategies as st

from automigrate.errors import AutomigrateError
from automigrate.scripts.graph import Revision, ScriptGraph
from automigrate.scripts.location import locate
from automigrate.scripts.reader import read, wanted_heads

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEST = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

OFTEN = st.booleans()
DOCSTRINGS = (
    '"""Add a table.\n\nrevision = "fake"\ndown_revision = "fake"\n"""\n',
    "'''Single quotes.\n\ndef upgrade(): pass\n'''\n",
    'r"""Raw \\d."""\n',
    "# a comment first\n\n",
    "",
)
TAILS = (
    "\n\ndef upgrade() -> None:\n    pass\n\n\ndef downgrade() -> None:\n    pass\n",
    '\n\ndef upgrade():\n    revision = "local"\n    down_revision = revision\n',
    "\n\n@staticmethod\ndef upgrade():\n    pass\n\nSETTING = 1\n",
    "\n\nclass Kind:\n    revision = 'other'\n\nasync def x(): pass\n",
)


@st.composite
def histories(draw: st.DrawFn, *, most_dependencies: int = 2) -> list[Revision]:
    """Draw revisions with merges, several bases, labels, and dependencies by id or label."""
    count = draw(st.integers(1, 12))
    listed: list[Revision] = []
    for number in range(count):
        name = f"{draw(st.sampled_from(('aaaa', 'abcd', 'ffff', '0')))}{number:x}"
        known = [item.revision for item in listed]
        labels = [label for item in listed for label in item.branch_labels]
        downs = draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
        named = known + labels
        most = most_dependencies if draw(OFTEN) and named else 0
        depends = draw(st.lists(st.sampled_from(named or [""]), max_size=most, unique=True))
        own = [f"label{number}"] if draw(st.integers(0, 3)) == 0 else []
        listed.append(Revision(name, tuple(downs), tuple(depends), tuple(own)))
    return draw(st.permutations(listed))


@st.composite
def written(draw: st.DrawFn, item: Revision) -> str:
    """Draw one of the many ways to write the identifiers of a revision."""
    lines = [
        draw(assignments("revision", (item.revision,), single=True)),
        draw(assignments("down_revision", item.down_revisions)),
    ]
    if draw(OFTEN) or item.depends_on:
        lines.append(draw(assignments("depends_on", item.depends_on)))
    if draw(OFTEN) or item.branch_labels:
        lines.append(draw(assignments("branch_labels", item.branch_labels)))
    lines = draw(st.permutations(lines))
    imports = draw(
        st.sampled_from(
            (
                "from alembic import op\nimport sqlalchemy as sa\n\n",
                "from typing import (\n    Sequence,\n    Union,\n)\n",
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\n",
                "import os, sys  # noqa\n",
                "",
            )
        )
    )
    ending = draw(st.sampled_from(("\n", "\r\n")))
    whole = draw(st.sampled_from(DOCSTRINGS)) + imports + "\n".join(lines)
    return (whole + draw(st.sampled_from(TAILS))).replace("\n", ending)


@st.composite
def assignments(
    draw: st.DrawFn, name: str, values: tuple[str, ...], *, single: bool = False
) -> str:
    """Draw an assignment of these values, literal or (rarely) not."""
    quote = draw(st.sampled_from("\"'"))
    quoted = [f"{quote}{value}{quote}" for value in values]
    joined = draw(st.sampled_from((", ", ",\n    "))).join(quoted)
    forms: list[str]
    if single or len(values) == 1:
        forms = [quoted[0], f"({quoted[0]})", f"({quote}{quote}\n  {quoted[0]})"]
        forms += [] if single else [f"({quoted[0]},)", f"[{quoted[0]}]", f"{{{quoted[0]}}}"]
        forms += [f"str({quoted[0]})"] if draw(st.integers(0, 20)) == 0 else []
    elif values:
        forms = [f"({joined})", f"[{joined}]", f"(\n    {joined},\n)", joined.replace("\n", " ")]
        forms += [f"tuple([{joined}])"] if draw(st.integers(0, 20)) == 0 else []
    else:
        forms = ["None", "()", "[]"]
    annotation = draw(st.sampled_from(("", ": object", ": list[str] | None")))
    return f"{name}{annotation} = {draw(st.sampled_from(forms))}"


@st.composite
def projects(draw: st.DrawFn) -> list[tuple[Revision, str]]:
    """Draw a history with the text of each script."""
    return [(item, draw(written(item))) for item in draw(histories())]


class Project:
    """A script directory on disk, seen by Alembic and by us."""

    def __init__(self, directory: Path, sources: list[tuple[Revision, str]]) -> None:
        versions = directory / "versions"
        versions.mkdir()
        for number, (item, source) in enumerate(sources):
            path = versions / f"{number:02}_{item.revision}.py"
            path.write_bytes(source.encode())
        self.alembic = ScriptDirectory(str(directory))
        self.location = locate(directory, cwd=directory)
        self.graph = read(self.location)

    @property
    def ordered(self) -> bool:
        """Whether Alembic's order is the same in every process."""
        return all(
            len(self.graph.dependencies_of(name)) - len(self.graph[name].down_revisions) <= 1
            for name in self.graph
        )


def project(sources: list[tuple[Revision, str]]) -> Iterator[Project]:
    """Write the scripts to a directory that lives as long as the iteration."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Project(Path(directory), sources)


def plain(items: list[Revision]) -> list[tuple[Revision, str]]:
    """Write the revisions in the simplest form."""
    return [
        (
            item,
            (
                f"revision = {item.revision!r}\ndown_revision = {item.down_revisions!r}\n"
                f"depends_on = {item.depends_on!r}\nbranch_labels = {item.branch_labels!r}\n"
                "def upgrade(): pass\ndef downgrade(): pass\n"
            ),
        )
        for item in items
    ]


@MODEST
@given(projects())
def test_reads_what_alembic_reads(sources: list[tuple[Revision, str]]) -> None:
    """Identifiers, heads, real heads and bases are Alembic's, however they are written."""
    for found in project(sources):
        scripts = {script.revision: script for script in found.alembic.walk_revisions()}
        assert set(found.graph) == set(scripts)
        assert found.graph.heads == found.alembic.revision_map.heads
        assert found.graph.real_heads == found.alembic.revision_map._real_heads
        assert found.graph.bases == found.alembic.revision_map.bases
        assert wanted_heads(found.location, "heads") == found.graph.real_heads
        for name, script in scripts.items():
            assert set(found.graph[name].down_revisions) == set(script._versioned_down_revisions)
            assert set(found.graph[name].branch_labels) == set(script._orig_branch_labels)
            assert found.graph[name].file == script.path
            assert found.graph[name].doc == script.doc.replace("\r\n", "\n")


@MODEST
@given(histories(), st.data())
def test_ancestry_is_alembics(items: list[Revision], data: st.DataObject) -> None:
    """Ancestors, descendants and direct dependencies are Alembic's."""
    for found in project(plain(items)):
        history = found.alembic.revision_map
        name = data.draw(st.sampled_from([item.revision for item in items]))
        node = history.get_revision(name)
        above = {item.revision for item in history._get_descendant_nodes([node])}
        below = {item.revision for item in history._get_ancestor_nodes([node])}
        assert found.graph.descendants([name]) == above
        assert found.graph.ancestors([name]) == below
        for script in found.alembic.walk_revisions():
            mine = found.graph.dependencies_of(script.revision)
            assert set(mine) == set(script._normalized_down_revisions)


@MODEST
@given(histories(most_dependencies=2), st.data())
def test_upgrade_order_is_alembics(items: list[Revision], data: st.DataObject) -> None:
    """What is pending, and in which order, is what Alembic would apply."""
    for found in project(plain(items)):
        ids = [item.revision for item in items]
        start = found.graph.effective_heads(data.draw(st.sets(st.sampled_from(ids), max_size=3)))
        target = data.draw(st.sampled_from(["heads", *ids]))
        steps = found.alembic._upgrade_revs(target, cast("str", tuple(start)))
        theirs = tuple(step.revision.revision for step in steps)
        mine = found.graph.upgrade_order(start, found.graph.resolve(target))
        assert set(mine) == set(theirs)
        if found.ordered:
            assert mine == theirs


@MODEST
@given(histories(most_dependencies=2), st.data())
def test_downgrade_order_is_alembics(items: list[Revision], data: st.DataObject) -> None:
    """What is reverted, and in which order, is what Alembic would revert."""
    for found in project(plain(items)):
        ids = [item.revision for item in items]
        labels = [label for item in items for label in item.branch_labels]
        applied = data.draw(st.sets(st.sampled_from(ids), min_size=1, max_size=3))
        start = tuple(sorted(found.graph.effective_heads(applied)))
        targets = ["base", *ids, "-1", "-2", *(f"{name}-1" for name in ids)]
        targets += [f"{label}@base" for label in labels] + [f"{label}@-1" for label in labels]
        target = data.draw(st.sampled_from(targets))
        theirs: tuple[str, ...] | None = None
        with suppress(CommandError, AssertionError):
            steps = found.alembic._downgrade_revs(target, cast("str", start))
            theirs = tuple(step.revision.revision for step in steps)
        mine: tuple[str, ...] | None = None
        with suppress(AutomigrateError):
            mine = found.graph.downgrade_order(start, target)
        assert (mine is None) == (theirs is None)
        assert set(mine or ()) == set(theirs or ())
        if found.ordered:
            assert mine == theirs


@MODEST
@given(histories(), st.data())
def test_targets_mean_what_alembic_means(items: list[Revision], data: st.DataObject) -> None:
    """Every form of target leads to Alembic's revisions, or is refused by both."""
    for found in project(plain(items)):
        ids = [item.revision for item in items]
        labels = [label for item in items for label in item.branch_labels]
        absolute = ["head", "heads", "base", *ids, *labels, *(name[:4] for name in ids)]
        branches = [f"{label}@{name}" for label in [*labels, *ids] for name in absolute]
        relative = ["+1", "+2", "-1", *(f"{name}+1" for name in ids), *(f"{x}-1" for x in ids)]
        relative += [f"{label}@+1" for label in labels]
        target = data.draw(st.sampled_from(absolute + branches + relative))
        applied = data.draw(st.sets(st.sampled_from(ids), max_size=2))
        start = tuple(sorted(found.graph.effective_heads(applied)))
        theirs: set[str] | None = None
        with suppress(CommandError, AssertionError, TypeError, AttributeError):
            found_by_alembic = _alembics_targets(found.alembic, target, start)
            theirs = {is_revision(item).revision for item in found_by_alembic}
        mine: set[str] | None = None
        with suppress(AutomigrateError):
            mine = set(found.graph.resolve(target, current=start))
        assert mine == theirs


def _alembics_targets(
    directory: ScriptDirectory, target: str, start: tuple[str, ...]
) -> list[object]:
    with directory._catch_revision_errors():
        return list(
            directory.revision_map._parse_upgrade_target(
                current_revisions=start, target=target, assert_relative_length=True
            )
        )


@MODEST
@given(histories(), st.data())
def test_effective_heads_are_what_alembic_leaves(
    items: list[Revision], data: st.DataObject
) -> None:
    """Applying everything below some revisions leaves the effective heads of these."""
    graph = ScriptGraph(items)
    chosen = data.draw(st.sets(st.sampled_from([item.revision for item in items]), min_size=1))
    applied = graph.ancestors(chosen)
    heads = {name for name in applied if applied.isdisjoint(set(graph.dependents[name]) - {name})}
    assert graph.effective_heads(chosen) == heads
    assert graph.effective_heads(applied) == heads
    assert graph.effective_heads(graph) == set(graph.real_heads)
