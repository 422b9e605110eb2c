"""Fixtures of all tests: a shared server a version, a database a test, a project a test."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.projects import Project
from tests.support.servers import VERSIONS, Database, Version, new_server, shared_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from automigrate.embedded import EmbeddedServer

_RUN_DIRECTORY = "AUTOMIGRATE_TEST_RUN"
_TESTS = Path(__file__).parent
_counter = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the place of this run's servers; the workers of xdist inherit it."""
    if not hasattr(config, "workerinput"):
        directory = tempfile.mkdtemp(prefix="automigrate-tests-", dir="/tmp")
        Path(directory).chmod(0o755)
        os.environ[_RUN_DIRECTORY] = directory


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the place of this run's servers; they have ended with the workers."""
    if not hasattr(config, "workerinput") and _RUN_DIRECTORY in os.environ:
        shutil.rmtree(os.environ.pop(_RUN_DIRECTORY), ignore_errors=True)


def pytest_report_header() -> str:
    """Name the PostgreSQL versions that this run has."""
    debian = Path("/usr/lib/postgresql/15/bin/postgres")
    return f"PostgreSQL: 18 (wheel), 15 ({debian if debian.exists() else 'missing'})"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run integration tests on every version, all others on the newest."""
    if "server" in metafunc.fixturenames:
        everywhere = _TESTS / "integration" in metafunc.definition.path.parents
        versions = VERSIONS if everywhere else VERSIONS[:1]
        metafunc.parametrize(
            "server", versions, indirect=True, ids=[f"pg{v}" for v in versions], scope="session"
        )


@pytest.fixture(scope="session")
def _server_of() -> Iterator[Callable[[Version], EmbeddedServer]]:
    """Keep each version's server until the session ends, once a test has asked for it."""
    running: dict[str, EmbeddedServer] = {}
    with ExitStack() as stack:

        def server_of(version: Version) -> EmbeddedServer:
            if version not in running:
                directory = Path(os.environ[_RUN_DIRECTORY], version)
                running[version] = stack.enter_context(shared_server(version, directory))
            return running[version]

        yield server_of


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, _server_of: Callable[[Version], EmbeddedServer]
) -> EmbeddedServer:
    """The server of this run, shared by all tests: never stop it, see `own_server`."""
    version: Version = request.param
    return _server_of(version)


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server for this test alone, to stop, kill and restart."""
    with new_server() as running:
        yield running


@pytest.fixture
def database(server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database for this test alone; what `drop` finds left in it fails the test."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw")
    title = re.sub(r"\W+", "_", request.node.name.partition("[")[0])[:40]
    found = Database(server, f"{worker}_{next(_counter)}_{title}")
    yield found
    left = found.drop()
    if left:
        pytest.fail(f"left in {found.name}:\n" + "\n".join(left), pytrace=False)


@pytest.fixture
def databases(server: EmbeddedServer) -> Iterator[Callable[[], Database]]:
    """Make further empty databases, for tests that need more than one."""
    made: list[Database] = []
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw")

    def make() -> Database:
        made.append(Database(server, f"{worker}_{next(_counter)}_further"))
        return made[-1]

    yield make
    left = [session for database in made for session in database.drop()]
    if left:
        pytest.fail("left:\n" + "\n".join(left), pytrace=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty Alembic project."""
    return Project(tmp_path)
