"""What is remembered of files holds exactly as long as the files do."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from automigrate.errors import MultipleHeadsError
from automigrate.scripts import lockfile
from automigrate.scripts.location import ScriptLocation, locate
from automigrate.scripts.reader import read, wanted_heads
from automigrate.scripts.stamp import MOST, SETTLED, Remembered, stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be a while after whatever was written."""
    now = time.time
    monkeypatch.setattr("automigrate.scripts.stamp.time.time", lambda: now() + SETTLED + 1.0)


def keep(remembered: Remembered[str], path: Path) -> None:
    """Remember the content of a file."""
    before = stamp([str(path)])
    remembered.keep("content", (str(path),), before, path.read_text())


def test_what_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """A second change in the same tick of the clock would leave no trace."""
    path = tmp_path / "a"
    path.write_text("one")
    remembered: Remembered[str] = Remembered()
    keep(remembered, path)
    assert remembered.recall("content") is None


def write_in_the_past(path: Path) -> None:
    """Write, and claim that it was long ago."""
    path.write_text("two")
    os.utime(path, (1.0, 1.0))


def await_tick(path: Path) -> None:
    """Wait until the clock of the file system has moved on."""
    probe = path.with_name("probe")
    before = path.stat().st_ctime_ns
    probe.touch()
    while probe.stat().st_ctime_ns == before:
        probe.touch()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda path: path.write_text("two"),
    "size": lambda path: path.write_text("three"),
    "gone": lambda path: path.unlink(),
    "replaced": lambda path: (path.parent / "b").replace(path),
    "time set back": write_in_the_past,
}


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(change: str, tmp_path: Path) -> None:
    """Whatever it is, and although a program may set the time of modification."""
    path = tmp_path / "a"
    path.write_text("one")
    (tmp_path / "b").write_text("two")
    os.utime(path, (1.0, 1.0))
    remembered: Remembered[str] = Remembered()
    keep(remembered, path)
    assert remembered.recall("content") == "one"
    await_tick(path)
    CHANGES[change](path)
    assert remembered.recall("content") is None


@pytest.mark.usefixtures("later")
def test_a_file_that_comes_is_seen(tmp_path: Path) -> None:
    """What was looked for and not there is a part of the answer."""
    remembered: Remembered[str] = Remembered()
    paths = (str(tmp_path / "a"),)
    remembered.keep("there", paths, stamp(paths), "no")
    assert remembered.recall("there") == "no"
    (tmp_path / "a").touch()
    assert remembered.recall("there") is None


@pytest.mark.usefixtures("later")
def test_only_so_many_are_kept(tmp_path: Path) -> None:
    """A process with ever new questions does not grow."""
    remembered: Remembered[int] = Remembered()
    for number in range(3 * MOST):
        remembered.keep(number, (str(tmp_path),), stamp([str(tmp_path)]), number)
    assert sum(remembered.recall(number) is not None for number in range(3 * MOST)) <= MOST


@pytest.mark.usefixtures("later")
def test_the_heads_follow_the_scripts(tmp_path: Path) -> None:
    """A second look in the process sees a new, an edited and a missing script."""
    versions = tmp_path / "versions"
    versions.mkdir()
    location = ScriptLocation(directory=tmp_path, version_locations=(versions,))
    for name, down in (("a", None), ("b", "a")):
        (versions / f"{name}.py").write_text(f"revision = {name!r}\ndown_revision = {down!r}\n")
    lockfile.write(location, read(location))
    assert wanted_heads(location) == wanted_heads(location) == ("b",)
    (versions / "c.py").write_text("revision = 'c'\ndown_revision = 'b'\n")
    assert wanted_heads(location) == ("c",)
    (versions / "c.py").unlink()
    assert wanted_heads(location) == ("b",)
    (versions / "b.py").write_text("revision = 'b'\ndown_revision = None\n")
    with pytest.raises(MultipleHeadsError):
        wanted_heads(location)


@pytest.mark.usefixtures("later")
def test_the_location_follows_the_configuration(tmp_path: Path) -> None:
    """A second call in the process sees an alembic.ini that came, changed and went."""
    scripts = tmp_path / "migrations"
    for name in ("versions", "more"):
        (scripts / name).mkdir(parents=True)
    found = [locate(scripts, cwd=tmp_path).version_locations]
    ini = tmp_path / "alembic.ini"
    for text in ("", "version_locations = %(here)s/migrations/more\n"):
        ini.write_text(f"[alembic]\nscript_location = migrations\n{text}")
        found.append(locate(scripts, cwd=tmp_path).version_locations)
    ini.unlink()
    found.append(locate(scripts, cwd=tmp_path).version_locations)
    assert [path[0].name for path in found] == ["versions", "versions", "more", "versions"]
