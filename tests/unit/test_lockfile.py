"""When the lock file is believed, and what it finds."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from automigrate.errors import ScriptError, ScriptImportError
from automigrate.scripts import lockfile
from automigrate.scripts.location import ScriptLocation
from automigrate.scripts.lockfile import LockDifferences
from automigrate.scripts.reader import read, wanted_heads

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def location(tmp_path: Path) -> ScriptLocation:
    """A script directory with the revisions a1, b2 and c3, locked."""
    location = ScriptLocation(directory=tmp_path, version_locations=(tmp_path / "versions",))
    (tmp_path / "versions").mkdir()
    for name, down in (("a1", None), ("b2", "a1"), ("c3", "b2")):
        add(location, name, down)
    lock(location)
    return location


def add(location: ScriptLocation, name: str, down: object) -> Path:
    """Write a script."""
    path = location.version_locations[0] / f"{name}.py"
    path.write_text(
        f"revision = {name!r}\ndown_revision = {down!r}\n\n\ndef upgrade():\n    step('{name}')\n"
    )
    return path


def lock(location: ScriptLocation) -> lockfile.LockFile:
    """Lock the scripts as they are."""
    return lockfile.write(location, read(location))


def differences(location: ScriptLocation) -> LockDifferences:
    """Compare the lock with the scripts."""
    found = lockfile.load(location)
    assert found is not None
    return lockfile.compare(location, found, read(location))


def lock_path(location: ScriptLocation) -> Path:
    """Tell where the lock is."""
    return location.directory / "automigrate.lock"


def test_without_a_lock_there_is_nothing_to_trust(location: ScriptLocation) -> None:
    """The lock is optional."""
    lock_path(location).unlink()
    assert lockfile.trusted(location) is None
    assert lockfile.load(location) is None
    assert wanted_heads(location) == ("c3",)


def test_what_is_written_is_read(location: ScriptLocation) -> None:
    """The lock holds heads and one entry per script, and reads back as it was written."""
    written = lock(location)
    assert lockfile.load(location) == written
    assert written.summary.heads == written.summary.real_heads == ("c3",)
    assert [(item.file, item.revision) for item in written.scripts] == [
        ("versions/a1.py", "a1"),
        ("versions/b2.py", "b2"),
        ("versions/c3.py", "c3"),
    ]
    assert sorted(path.name for path in location.directory.iterdir()) == [
        "automigrate.lock",
        "versions",
    ]
    assert not differences(location)


def test_a_fitting_lock_is_believed(location: ScriptLocation) -> None:
    """The scripts are not opened, but for the heads: a script that cannot be read goes unseen."""
    path = location.version_locations[0] / "a1.py"
    size = path.stat().st_size
    path.write_bytes(b"(" * size)
    assert wanted_heads(location) == wanted_heads(location, "heads") == ("c3",)
    lock_path(location).unlink()
    with pytest.raises(ScriptImportError):
        wanted_heads(location)


def test_a_lock_of_several_heads_serves_for_heads_only(location: ScriptLocation) -> None:
    """The lock keeps real heads apart from heads."""
    path = add(location, "d4", None)
    path.write_text(path.read_text() + "depends_on = 'c3'\n")
    lock(location)
    found = lockfile.trusted(location)
    assert found is not None
    assert found.heads == ("c3", "d4")
    assert found.real_heads == wanted_heads(location, "heads") == ("d4",)
    with pytest.raises(ScriptError, match="2 heads"):
        wanted_heads(location)


def test_a_new_script_is_seen(location: ScriptLocation) -> None:
    """A script that the lock does not know makes the scripts count."""
    add(location, "d4", "c3")
    assert lockfile.trusted(location) is None
    assert wanted_heads(location) == ("d4",)
    assert differences(location) == LockDifferences(
        extra=("versions/d4.py",), heads_changed=True, outdated=True
    )


def test_a_missing_script_is_seen(location: ScriptLocation) -> None:
    """So does one that is no more."""
    (location.version_locations[0] / "c3.py").unlink()
    assert lockfile.trusted(location) is None
    assert wanted_heads(location) == ("b2",)
    assert differences(location) == LockDifferences(
        missing=("versions/c3.py",), heads_changed=True, outdated=True
    )


def test_a_renamed_script_is_seen(location: ScriptLocation) -> None:
    """And one with another name."""
    path = location.version_locations[0] / "b2.py"
    path.rename(path.with_name("b2_new.py"))
    assert lockfile.trusted(location) is None
    assert differences(location).missing == ("versions/b2.py",)


def test_a_changed_size_is_seen(location: ScriptLocation) -> None:
    """An edit that changes the size of any script makes the scripts count."""
    path = location.version_locations[0] / "a1.py"
    path.write_text(path.read_text() + "    step('more')\n")
    assert lockfile.trusted(location) is None
    assert differences(location) == LockDifferences(edited=("versions/a1.py",), outdated=True)


def test_an_edited_head_is_seen_whatever_its_size(location: ScriptLocation) -> None:
    """A head moved onto another revision, with an id of the same length, is noticed."""
    path = location.version_locations[0] / "c3.py"
    path.write_text(path.read_text().replace("'b2'", "'a1'"))
    assert lockfile.trusted(location) is None
    assert differences(location).edited == ("versions/c3.py",)
    assert differences(location).heads_changed


def test_an_edit_of_the_same_size_is_found_by_compare(location: ScriptLocation) -> None:
    """Deep in the history only the full comparison sees it."""
    path = location.version_locations[0] / "a1.py"
    path.write_text(path.read_text().replace("step('a1')", "step('a2')"))
    assert lockfile.trusted(location) is not None
    assert differences(location) == LockDifferences(edited=("versions/a1.py",))


def test_reformatting_is_no_edit(location: ScriptLocation) -> None:
    """Another layout makes the lock outdated, not the script edited."""
    path = location.version_locations[0] / "a1.py"
    path.write_text(path.read_text().replace("'", '"') + "# a comment\n")
    assert differences(location) == LockDifferences(outdated=True)
    lock(location)
    assert not differences(location)


def test_very_many_scripts_are_not_sized(
    location: ScriptLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit, names and the content of the heads decide, so that the look stays short."""
    monkeypatch.setattr(lockfile, "SIZED_SCRIPTS", 2)
    assert lock(location).summary.sizes_digest == ""
    path = location.version_locations[0] / "a1.py"
    path.write_text(path.read_text() + "# longer\n")
    assert lockfile.trusted(location) is not None
    add(location, "d4", "c3")
    assert lockfile.trusted(location) is None


def test_a_vanished_version_location_is_seen(location: ScriptLocation) -> None:
    """Without its directory the lock fits nothing."""
    shutil.rmtree(location.version_locations[0])
    assert lockfile.trusted(location) is None


def test_a_lock_with_a_missing_head_is_not_believed(
    location: ScriptLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head whose file cannot be read is no reason to believe."""
    monkeypatch.setattr(lockfile, "SIZED_SCRIPTS", 2)
    lock(location)
    path = location.version_locations[0] / "c3.py"
    path.unlink()
    path.symlink_to("gone.py")
    assert lockfile.trusted(location) is None


def test_sourceless_directories_are_read(location: ScriptLocation) -> None:
    """Compiled scripts are not in the lock, so it is not used where they count."""
    assert lockfile.trusted(replace(location, sourceless=True)) is None


def test_recursive_locations_are_locked(location: ScriptLocation) -> None:
    """Scripts in subdirectories are in the lock where they count, caches are not."""
    recursive = replace(location, recursive=True)
    below = location.version_locations[0] / "2024"
    below.mkdir()
    (below / "d4.py").write_text("revision = 'd4'\ndown_revision = 'c3'\n")
    assert lock(recursive).scripts[0].file == "versions/2024/d4.py"
    (location.version_locations[0] / "__pycache__").mkdir()
    (location.version_locations[0] / "__pycache__" / "x.py").touch()
    assert lockfile.trusted(recursive) is not None
    (below / "e5.py").write_text("revision = 'e5'\ndown_revision = 'd4'\n")
    assert lockfile.trusted(recursive) is None


def test_a_location_outside_is_locked(location: ScriptLocation, tmp_path: Path) -> None:
    """A version location beside the script directory is named from it."""
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    (elsewhere / "d4.py").write_text("revision = 'd4'\ndown_revision = 'c3'\n")
    both = replace(location, version_locations=(*location.version_locations, elsewhere))
    assert f"../{elsewhere.name}/d4.py" in [item.file for item in lock(both).scripts]
    assert lockfile.trusted(both) is not None
    assert lockfile.trusted(location) is None


def test_the_lock_moves_with_the_project(location: ScriptLocation, tmp_path: Path) -> None:
    """A copy of the project in another place, as in an image, fits its lock."""
    copy = tmp_path.parent / f"{tmp_path.name}-copy"
    shutil.copytree(tmp_path, copy)
    moved = ScriptLocation(directory=copy, version_locations=(copy / "versions",))
    assert lockfile.trusted(moved) is not None


def test_two_branches_conflict_in_git(location: ScriptLocation) -> None:
    """Two branches that each add a revision cannot be merged without a look at the heads."""

    def git(*arguments: str) -> int:
        settings = ("-c", "user.name=x", "-c", "user.email=x@y", "-c", "init.defaultBranch=main")
        done = subprocess.run(
            ["git", *settings, *arguments], cwd=location.directory, capture_output=True, check=False
        )
        return done.returncode

    assert git("init") == 0
    assert git("add", ".") == git("commit", "-m", "start") == 0
    for branch, name in (("left", "d4"), ("right", "z9")):
        assert git("checkout", "-b", branch, "main") == 0
        add(location, name, "c3")
        lock(location)
        assert git("add", ".") == git("commit", "-m", branch) == 0
    assert git("merge", "left") == 1
    with pytest.raises(ScriptError, match=r"conflict markers of git.*`automigrate lock`"):
        wanted_heads(location)
    with pytest.raises(ScriptError, match="conflict markers"):
        lockfile.load(location)
    add(location, "zz", ("d4", "z9"))
    lock(location)
    assert wanted_heads(location) == ("zz",)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("heads = [", "heads = "),
        ("heads = [", "unknown = ["),
        ('heads = ["c3"]', "heads = 3"),
        ("[scripts]", "[other]"),
        ('["a1", ', '["a1", "x", '),
        ('versions/a1.py" = [', 'versions/a1.py" = 1 # ['),
    ],
)
def test_a_damaged_lock_is_refused(location: ScriptLocation, before: str, after: str) -> None:
    """A lock that was edited by hand is refused with the remedy."""
    path = lock_path(location)
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(ScriptError, match="is damaged. Write it again"):
        lockfile.load(location)


def test_a_lock_without_scripts_is_no_summary(location: ScriptLocation) -> None:
    """A first section that runs on is damage for the startup too."""
    path = lock_path(location)
    path.write_text(path.read_text().replace("[scripts]", ""))
    with pytest.raises(ScriptError, match="is damaged"):
        wanted_heads(location)


def test_a_lock_that_is_no_text_is_refused(location: ScriptLocation) -> None:
    """Bytes that are no text are damage."""
    lock_path(location).write_bytes(b"\xff\xfe")
    with pytest.raises(ScriptError, match="is damaged"):
        wanted_heads(location)


def test_a_newer_format_is_left_alone(location: ScriptLocation) -> None:
    """A lock of a newer automigrate is not used, and no fault."""
    path = lock_path(location)
    path.write_text(path.read_text().replace("format = 3", "format = 4"))
    assert lockfile.trusted(location) is None
    assert lockfile.load(location) is None


def test_a_lock_that_cannot_be_written_is_reported(location: ScriptLocation) -> None:
    """A directory in the way, as a stand-in for a read-only one, is an error with the path."""
    lock_path(location).unlink()
    lock_path(location).mkdir()
    (lock_path(location) / "x").touch()
    with pytest.raises(ScriptError, match=r"automigrate\.lock cannot be written"):
        lock(location)
    assert len(list(location.directory.iterdir())) == 2
