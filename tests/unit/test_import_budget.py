"""Which modules a start imports, as far as no database is needed for it: names, not times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automigrate.scripts import lockfile
from automigrate.scripts.location import locate
from automigrate.scripts.reader import read

if TYPE_CHECKING:
    from tests.support.projects import Project

ROOT = Path(__file__).parents[2]

LIBRARIES = {
    "alembic",
    "click",
    "mako",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "rich",
    "sqlalchemy",
    "structlog",
    "tenacity",
}
SLOW_PARTS_OF_PYTHON = {
    "argparse",
    "asyncio",
    "concurrent.futures",
    "configparser",
    "decimal",
    "email",
    "http",
    "multiprocessing",
    "platform",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "uuid",
    "zipfile",
}
NEEDED_WHEN_PENDING = {
    "automigrate.alembic_bridge",
    "automigrate.application",
    "automigrate.database.advisory_lock",
    "automigrate.database.journal",
    "automigrate.database.observer",
    "automigrate.plan",
    "automigrate.pooled",
    "automigrate.recovery",
    "automigrate.scripts.checksum",
    "automigrate.scripts.graph",
    "automigrate.scripts.identifiers",
    "automigrate.scripts.locked_graph",
    "automigrate.scripts.targets",
    "automigrate.workflow",
}


def imported_by(program: str, *arguments: str) -> set[str]:
    """Return the modules that a program imports beyond those of Python's own start."""

    def loaded(code: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)", *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return set(done.stdout.split())

    return loaded(program) - loaded("")


def test_the_package_alone_imports_nothing() -> None:
    """`import automigrate` loads one module; the rest comes with the names that are used."""
    assert imported_by("import automigrate") == {"automigrate"}


def test_an_error_class_imports_no_engine() -> None:
    """Code that only catches `AutomigrateError` loads the errors and nothing of the engine."""
    loaded = imported_by("from automigrate import AutomigrateError")
    own = {name for name in loaded if name.startswith("automigrate")}
    assert own == {"automigrate", "automigrate.errors"}


@pytest.mark.parametrize("name", ["upgrade", "upgrade_async", "Migrator"])
def test_the_engine_imports_no_library(name: str) -> None:
    """What an application imports to migrate loads no library and no slow part of Python."""
    loaded = imported_by(f"from automigrate import {name}")
    assert loaded.isdisjoint(LIBRARIES | SLOW_PARTS_OF_PYTHON)


def test_the_engine_imports_only_what_a_look_needs() -> None:
    """Journal, lock, plan and everything behind them wait until something is pending."""
    assert imported_by("from automigrate import upgrade").isdisjoint(NEEDED_WHEN_PENDING)


def test_reading_a_locked_project_imports_no_parser(project: Project) -> None:
    """With a lock file and a stock alembic.ini no script is parsed, and no ini parser loaded."""
    project.extend(3)
    location = locate(project.scripts)
    lockfile.write(location, read(location))
    program = """
import sys
from automigrate.scripts.location import locate
from automigrate.scripts.reader import wanted_heads
assert wanted_heads(locate(sys.argv[1])) == ("r0003",)
"""
    loaded = imported_by(program, str(project.scripts))
    assert loaded.isdisjoint(LIBRARIES | SLOW_PARTS_OF_PYTHON | NEEDED_WHEN_PENDING)


def test_the_plain_command_line_imports_no_click() -> None:
    """`automigrate upgrade` with plain options is read without click and rich."""
    program = """
from automigrate import __main__
from automigrate.cli import plain
assert plain.read(["upgrade", "--database-url", "postgresql://x/y"]) is not None
"""
    assert imported_by(program).isdisjoint(LIBRARIES | SLOW_PARTS_OF_PYTHON - {"socket"})


def said_by(program: str, *arguments: str) -> str:
    """Run a program with this package, and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout


def test_only_a_process_of_our_own_collects_garbage_seldom() -> None:
    """The command sets the collector's thresholds; a call from within a program leaves them."""
    program = (
        "import gc, sys, automigrate.__main__ as command; before = gc.get_threshold();"
        "command.main({arguments}); print(gc.get_threshold() == before)"
    )
    for arguments, same in (("", "False"), ("['--version']", "True")):
        said = said_by(program.format(arguments=arguments), "--version")
        assert said.splitlines()[-1] == same


def test_a_process_of_our_own_looks_at_its_imports_never_and_at_later_garbage() -> None:
    """The first collections keep what is there; a cycle made afterwards is found."""
    program = (
        "import gc, weakref; from automigrate.cli.sparing import TIMES, spare; spare()\n"
        "class Node: pass\n"
        "def cycle():\n node = Node(); node.itself = node; return weakref.ref(node)\n"
        "early = cycle()\n"
        "for _ in range(TIMES): gc.collect()\n"
        "late = cycle(); gc.collect()\n"
        "print(early() is None, late() is None)"
    )
    said = said_by(program)
    assert said.strip() == "False True"


def test_only_a_process_of_our_own_ends_without_searching_for_cycles() -> None:
    """What others have registered for the end runs before, and sees what it always saw."""
    program = (
        "import atexit, gc, automigrate.__main__ as command;"
        "atexit.register(lambda: print('last', gc.get_freeze_count() > 0));"
        "command.main({arguments});"
        "atexit.register(lambda: print('theirs', gc.get_freeze_count() > 0))"
    )
    for arguments, frozen in (("", "True"), ("['--version']", "False")):
        said = said_by(program.format(arguments=arguments), "--version")
        assert said.splitlines()[-2:] == ["theirs False", f"last {frozen}"]


def test_a_process_of_our_own_imports_alembic_without_pygments() -> None:
    """Which only mako wants, for colours; who asks for mako's plugin itself gets it."""
    program = (
        "from automigrate.cli.sparing import spare; spare(); import alembic.config, sys;"
        "assert 'pygments' not in sys.modules, 'imported';"
        "import mako.ext.pygmentplugin as plugin; print(plugin.MakoLexer.__name__)"
    )
    said = said_by(program)
    assert said.strip() == "MakoLexer"
