"""Timings of what needs no database: `pytest -n 0 benchmarks/test_pure_parts.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from automigrate.database.url import DatabaseURL
from automigrate.scripts import lockfile
from automigrate.scripts.checksum import checksum
from automigrate.scripts.location import ScriptLocation, locate
from automigrate.scripts.reader import read, wanted_heads
from benchmarks import histories

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

SIZES = (10, 1000)


@pytest.fixture(scope="module", params=SIZES)
def location(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script directory."""
    root = tmp_path_factory.mktemp("histories")
    return histories.write("alembic", request.param, root) / "migrations"


def located(scripts: Path, *, lock: bool) -> ScriptLocation:
    """Locate a script directory, with or without its lock file."""
    location = locate(scripts)
    (scripts / lockfile.NAME).unlink(missing_ok=True)
    if lock:
        lockfile.write(location, read(location))
    return location


def test_locating(benchmark: BenchmarkFixture, location: Path) -> None:
    """Find the scripts and read alembic.ini."""
    benchmark(locate, location)


def test_heads_with_a_lock_file(benchmark: BenchmarkFixture, location: Path) -> None:
    """What a start with nothing pending does with the scripts."""
    benchmark(wanted_heads, located(location, lock=True))


def test_heads_without_a_lock_file(benchmark: BenchmarkFixture, location: Path) -> None:
    """The same, from the scripts themselves."""
    benchmark(wanted_heads, located(location, lock=False))


def test_the_order_of_all(benchmark: BenchmarkFixture, location: Path) -> None:
    """What is pending on an empty database."""
    graph = read(locate(location))
    benchmark(graph.upgrade_order, (), graph.heads)


def test_a_checksum(benchmark: BenchmarkFixture, location: Path) -> None:
    """The checksum of one script, once per revision applied."""
    script = next((location / "versions").glob("*.py")).read_bytes()
    benchmark(checksum, script)


def test_a_url(benchmark: BenchmarkFixture) -> None:
    """Read a database URL and write it for libpq."""
    benchmark(lambda: DatabaseURL.parse("postgresql://app:secret@db.example:5432/app").conninfo())
