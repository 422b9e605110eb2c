"""The history from the lock file: the same as from the scripts, and never against them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from automigrate.errors import ScriptError
from automigrate.scripts import lockfile
from automigrate.scripts.location import ScriptLocation
from automigrate.scripts.locked_graph import agrees, read_locked
from automigrate.scripts.reader import read
from automigrate.scripts.text import ScriptText

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """\
revision = {name!r}
down_revision = {down!r}
depends_on = {depends_on!r}
branch_labels = {labels!r}


def upgrade():
    pass
"""


@pytest.fixture
def location(tmp_path: Path) -> ScriptLocation:
    """A locked history with a branch, a label, a dependency and a merge."""
    (tmp_path / "versions").mkdir()
    location = ScriptLocation(directory=tmp_path, version_locations=(tmp_path / "versions",))
    write(location, "a")
    write(location, "b", "a", labels=("left",))
    write(location, "c", "a", depends_on="left")
    write(location, "d", ("b", "c"))
    lockfile.write(location, read(location))
    return location


def write(
    location: ScriptLocation,
    name: str,
    down: object = None,
    depends_on: object = None,
    labels: object = None,
) -> Path:
    """Write a script."""
    path = location.version_locations[0] / f"{name}.py"
    path.write_text(SCRIPT.format(name=name, down=down, depends_on=depends_on, labels=labels))
    return path


def lock_text(location: ScriptLocation) -> str:
    """Read the lock."""
    return (location.directory / lockfile.NAME).read_text()


def older(text: str, form: int) -> str:
    """Make what format 1 or 2 wrote of it."""
    head, _, lines = text.partition("[scripts]\n")
    cut = ""
    for line in lines.splitlines():
        file, _, values = line.partition(" = ")
        cut += f"{file} = {json.dumps(json.loads(values)[: {1: 3, 2: 6}[form]])}\n"
    return f"{head.replace('format = 3', f'format = {form}')}[scripts]\n{cut}"


def test_it_is_the_history_of_the_scripts(location: ScriptLocation) -> None:
    """Order, edges, labels and files are the same."""
    found, known = read_locked(location), read(location)
    assert found is not None
    assert list(found) == list(known)
    assert [found[name] for name in found] == [known[name] for name in known]
    assert found.labels == known.labels
    assert agrees(found, found)


def test_a_new_script_is_not_overlooked(location: ScriptLocation) -> None:
    """With other names the lock is not asked."""
    write(location, "e", "d")
    assert read_locked(location) is None


def test_a_changed_size_of_any_script_is_seen(
    location: ScriptLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a start with nothing pending asks for no sizes, because there are many."""
    monkeypatch.setattr(lockfile, "SIZED_SCRIPTS", 2)
    lockfile.write(location, read(location))
    assert read_locked(location) is not None
    path = location.version_locations[0] / "b.py"
    path.write_text(path.read_text() + "\n")
    assert lockfile.trusted(location) is not None
    assert read_locked(location) is None


def test_a_script_that_says_something_else_is_found_before_it_runs(
    location: ScriptLocation,
) -> None:
    """An edit of the same size is seen by opening the script, which happens to those that run."""
    found = read_locked(location)
    assert found is not None
    path = location.version_locations[0] / "c.py"
    path.write_text(path.read_text().replace("'left'", "'lfet'"))
    assert agrees(found, ["a", "b", "d"])
    assert not agrees(found, ["c"])


def test_a_script_that_must_be_run_to_tell_is_no_agreement(location: ScriptLocation) -> None:
    """Nobody knows what it says until it runs."""
    found = read_locked(location)
    assert found is not None
    write(location, "d", ("b", "c")).write_text("revision = 'd'\ndown_revision = tuple('bc')\n")
    assert not agrees(found, ["d"])


def test_a_checksum_is_taken_from_the_lock_as_long_as_the_bytes_are_the_same(
    location: ScriptLocation,
) -> None:
    """A script that is not parsed has the checksum that it would have when parsed."""
    found = read_locked(location)
    assert found is not None
    for name in found:
        sealed = ScriptText(found[name].file, found.seals[name])
        assert sealed.checksum == ScriptText(found[name].file).checksum
        assert "tree" not in vars(sealed)
    path = location.version_locations[0] / "c.py"
    path.write_text(path.read_text().replace("'left'", "'lfet'"))
    changed = ScriptText(str(path), found.seals["c"])
    assert changed.checksum == ScriptText(str(path)).checksum != found.seals["c"].checksum


def test_a_script_with_sql_files_is_parsed_all_the_same(location: ScriptLocation) -> None:
    """Its checksum covers them, and its own bytes say nothing of theirs."""
    companion = location.version_locations[0] / "more.sql"
    companion.write_text("create table t ();")
    path = write(location, "e", "d")
    with path.open("a") as script:
        script.write('\n\nfrom pathlib import Path\nFILE = Path(__file__).with_name("more.sql")\n')
    lockfile.write(location, read(location))
    found = read_locked(location)
    assert found is not None
    companion.write_text("create table u ();")
    sealed = ScriptText(found["e"].file, found.seals["e"])
    assert sealed.checksum == ScriptText(found["e"].file).checksum != found.seals["e"].checksum


@pytest.mark.parametrize("form", [1, 2])
def test_a_lock_of_an_earlier_format_serves_the_look_alone(
    location: ScriptLocation, form: int
) -> None:
    """It is believed as before; the history is read from the scripts."""
    path = location.directory / lockfile.NAME
    path.write_text(older(lock_text(location), form))
    trusted = lockfile.trusted(location)
    assert trusted is not None
    assert trusted.heads == ("d",)
    assert read_locked(location) is None
    whole = lockfile.load(location)
    assert whole is not None
    assert [item.digest for item in whole.scripts] == [None] * 4
    assert all((item.down_revisions is None) == (form == 1) for item in whole.scripts)
    assert not lockfile.compare(location, whole, read(location))
    assert lockfile.render(whole) == lock_text(location).replace(f"format = {form}", "format = 3")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('["b", "c"]', '["b"]'),
        ('"versions/c.py" = ["c"', '"versions/c.py" = ["x"'),
        ('["a"]', '["nowhere"]'),
        ("[scripts]", "[others]"),
        (', [], [], "', ', [], "'),
        ("= [", "= "),
    ],
)
def test_a_damaged_second_section_is_not_believed(
    location: ScriptLocation, before: str, after: str
) -> None:
    """Whatever does not parse, or makes no history with these heads, is left to the scripts."""
    path = location.directory / lockfile.NAME
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    found = None
    try:
        found = read_locked(location)
    except ScriptError:
        return
    assert found is None


def test_links_and_several_locations_are_read_from_the_scripts(location: ScriptLocation) -> None:
    """Where names alone do not give Alembic's order."""
    versions = location.version_locations[0]
    os.replace(versions / "b.py", location.directory / "elsewhere.py")  # noqa: PTH105
    (versions / "b.py").symlink_to(location.directory / "elsewhere.py")
    lockfile.write(location, read(location))
    assert read_locked(location) is None
