"""Which SQL files belong to a script, and what they do to its checksum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from automigrate.errors import ScriptImportError
from automigrate.scripts.checksum import checksum
from automigrate.scripts.text import ScriptText

if TYPE_CHECKING:
    from pathlib import Path

RUNS = """\
from pathlib import Path
from alembic import op
def upgrade():
    op.execute(Path(__file__).{call}.read_text())
"""
NAMED = {
    "with_suffix('.up.sql')": "one.up.sql",
    "with_name('other.sql')": "other.sql",
}
OTHERS = (
    "with_suffix('sql')",  # refused by Python when it runs
    "with_suffix('.txt')",
    "with_name('../one.sql')",
    "with_name(name + '.sql')",
    "parent.joinpath('one.up.sql')",
)


def written(directory: Path, call: str) -> ScriptText:
    """Write a script that reads a file."""
    script = directory / "one.py"
    script.write_text(RUNS.format(call=call))
    return ScriptText(str(script))


@pytest.mark.parametrize("call", NAMED)
def test_the_text_of_a_named_file_counts(tmp_path: Path, call: str) -> None:
    """Another text is another checksum, the same text the same one."""
    sql = tmp_path / NAMED[call]
    sql.write_text("select 1;\n")
    first = written(tmp_path, call).checksum
    sql.write_text("select 2;\n")
    second = written(tmp_path, call).checksum
    sql.write_bytes(b"select 1;\r\n")
    assert written(tmp_path, call).checksum == first != second
    assert first != checksum(RUNS.format(call=call))


def test_two_files_do_not_change_places_unseen(tmp_path: Path) -> None:
    """What went up and what went down are told apart."""
    (tmp_path / "one.py").write_text(
        RUNS.format(call="with_suffix('.up.sql')") + "    Path(__file__).with_suffix('.down.sql')\n"
    )
    up, down = tmp_path / "one.up.sql", tmp_path / "one.down.sql"
    up.write_text("a")
    down.write_text("b")
    before = ScriptText(str(tmp_path / "one.py")).checksum
    up.write_text("b")
    down.write_text("a")
    assert ScriptText(str(tmp_path / "one.py")).checksum != before


def test_a_renamed_pair_is_the_same_script(tmp_path: Path) -> None:
    """Names of files do not count, as they do not for the script itself."""
    text = RUNS.format(call="with_suffix('.up.sql')")
    for stem in ("one", "another.name"):
        (tmp_path / f"{stem}.py").write_text(text)
        (tmp_path / f"{stem}.up.sql").write_text("select 1")
    one, another = (tmp_path / f"{stem}.py" for stem in ("one", "another.name"))
    assert ScriptText(str(one)).checksum == ScriptText(str(another)).checksum


@pytest.mark.parametrize("call", OTHERS)
def test_the_checksum_of_other_scripts_is_their_own(tmp_path: Path, call: str) -> None:
    """A script that names no SQL file beside it keeps the checksum that it always had."""
    (tmp_path / "one.up.sql").write_text("select 1")
    assert written(tmp_path, call).checksum == checksum(RUNS.format(call=call))


def test_a_named_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """The script cannot run without it, and the error says which file it is."""
    with pytest.raises(ScriptImportError, match=r"one\.up\.sql"):
        _ = written(tmp_path, "with_suffix('.up.sql')").checksum
