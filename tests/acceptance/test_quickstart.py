"""The example that the README starts with, and what the README promises about it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.servers import Database

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "quickstart"
README = ROOT / "README.md"


def _environment() -> dict[str, str]:
    foreign = ("AUTOMIGRATE_", "DATABASE_URL", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the example prints, run from an unrelated directory."""
    result = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py")],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout


def _round(output: str, number: int) -> list[str]:
    """Return how the replicas of one round started."""
    _, _, rest = output.partition(f"Round {number}:")
    return [
        line.split(maxsplit=1)[1]
        for line in rest.partition("\n\n")[0].splitlines()
        if line.startswith("  replica-")
    ]


def test_one_replica_migrates_and_the_others_wait_for_it(output: str) -> None:
    """Of five that start at once one applies everything; the others wait or find it done."""
    starts = _round(output, 1)
    assert len(starts) == 5
    migrated = [line for line in starts if line.startswith("migrated: applied 4 revisions")]
    assert len(migrated) == 1
    for line in starts:
        assert re.match(r"migrated|waited \d+ ms for replica-\d|nothing pending", line)


def test_each_revision_is_applied_once(output: str) -> None:
    """The journal in the database says so, by one process."""
    applied = re.findall(r"^  (\S+) +applied once, by process (\d+)$", output, re.MULTILINE)
    assert [revision for revision, _ in applied] == [
        "0001_create_shop",
        "0002_import_orders",
        "0003_order_totals",
        "0004_index_orders",
    ]
    assert len({process for _, process in applied}) == 1


def test_every_replica_serves(output: str) -> None:
    """Each replica answers requests that need the newest schema."""
    served = re.findall(r"POST /orders: 201, order \d+; GET /best-seller: coffee", output)
    assert len(served) == 5


def test_the_second_round_finds_nothing_pending(output: str) -> None:
    """On the right schema every replica starts without doing anything."""
    starts = _round(output, 2)
    assert len(starts) == 5
    assert all(re.fullmatch(r"nothing pending +\d+ ms", line) for line in starts)


def test_the_command_line_and_plain_alembic_work_on_the_example(database: Database) -> None:
    """Both commands find alembic.ini and what env.py imports, and agree."""

    def run(*command: str) -> str:
        result = subprocess.run(
            [sys.executable, "-P", "-m", *command],  # -P: as the installed commands, no cwd
            cwd=EXAMPLE,
            env={**_environment(), "DATABASE_URL": database.url},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert run("automigrate", "upgrade").startswith("automigrate: applied 4 revisions")
    assert run("alembic", "current") == "0004_index_orders (head)\n"
    run("alembic", "downgrade", "-2")
    assert run("automigrate", "upgrade").startswith("automigrate: applied 2 revisions")


def test_the_startup_of_the_example_is_one_line() -> None:
    """The app calls automigrate once."""
    tree = ast.parse((EXAMPLE / "app.py").read_text())
    calls = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("automigrate.")
    ]
    assert calls == ["automigrate.upgrade(url, 'migrations')"]


def test_the_readme_starts_the_example_in_one_paste() -> None:
    """The README's first command makes an environment, installs, and runs the example."""
    [first, second, *_] = re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    assert "python3 -m venv" in first
    assert "'.[embedded,binary]'" in first
    assert "python examples/quickstart/run.py" in first
    assert "'.[dev]'" in second
    assert "pytest" in second


def test_the_example_of_the_readme_is_short_and_compiles() -> None:
    """The Python in the README is Python, and at most 20 lines a piece."""
    pieces = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert pieces
    for piece in pieces:
        compile(piece, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert len(piece.splitlines()) <= 20


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """Every relative link in the README is a file of the project."""
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", README.read_text()):
        assert (ROOT / target).exists(), target
