"""`automigrate lock` writes the lock file and says whether it fits the scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from automigrate.__main__ import main
from tests.support.projects import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of two revisions, in the current directory."""
    monkeypatch.chdir(tmp_path)
    return Project.linear(tmp_path, 2)


def test_it_is_written_and_fits(shop: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A fresh lock file passes the check."""
    assert main(["lock"]) == 0
    assert capsys.readouterr().out == "wrote migrations/automigrate.lock\n"
    assert (shop.scripts / "automigrate.lock").exists()
    assert main(["lock", "--check"]) == 0


def test_a_missing_one_fails_the_check(shop: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a lock file the check ends with 3 and writes none."""
    assert main(["lock", "--check"]) == 3
    assert "has no automigrate.lock" in capsys.readouterr().err
    assert not (shop.scripts / "automigrate.lock").exists()


def test_a_stale_one_fails_the_check(shop: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Edited, new and missing scripts are named."""
    main(["lock"])
    first = shop.revisions["r0001"]
    first.write_text(first.read_text().replace("t_r0001", "other"))
    shop.extend(1)
    assert main(["lock", "--check"]) == 3
    told = capsys.readouterr().err
    assert f"edited versions/{first.name}" in told
    assert "new versions/r0003_revision_r0003.py" in told
    assert "the heads are others" in told


def test_comments_do_not_make_it_stale_in_substance(
    shop: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comment changes no checksum; the summary tells that startups have to read the scripts."""
    main(["lock"])
    path = shop.revisions["r0001"]
    path.write_text(path.read_text() + "\n# a comment\n")
    capsys.readouterr()
    assert main(["lock", "--check", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["edited"] == []
    assert told["outdated"] is True


def test_json_names_the_heads(shop: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: what was written and the heads."""
    assert main(["lock", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "files": ["migrations/automigrate.lock"],
        "heads": ["r0002"],
    }
    assert shop.revisions
