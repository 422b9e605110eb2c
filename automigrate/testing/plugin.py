"""The pytest plugin: options and fixtures for applications that test their migrations.

Installed with automigrate and silent: it adds options and fixtures, and imports nothing else until
a test asks for one of them.

    # pyproject.toml
    [tool.pytest.ini_options]
    automigrate_scripts = "migrations"

    # tests/test_shop.py
    def test_orders(migrated_database):
        engine = sqlalchemy.create_engine(migrated_database.sqlalchemy_url())
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.testing.databases import Database, Databases
    from automigrate.verdict import UpgradeReport

__all__ = ["MigratedProject"]

SECTION = "alembic"
SERVER_VARIABLE = "AUTOMIGRATE_TEST_DATABASE_URL"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of the configuration file."""
    add = parser.addini
    add("automigrate_scripts", "Script directory, or package:directory.", default="")
    add("automigrate_config", "An alembic.ini or pyproject.toml.", default="")
    add("automigrate_ini_section", "Section of that alembic.ini.", default=SECTION)
    add("automigrate_models", "Models: package.module:Base; by default env.py's.", default="")
    add("automigrate_target", "What is upgraded to: head or heads.", default="head")
    add("automigrate_x_arguments", "key=value pairs for env.py.", type="args", default=[])
    add(
        "automigrate_server",
        f"URL of a server to make databases on, or ${SERVER_VARIABLE}; by default PostgreSQL from "
        "a wheel.",
        default="",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedProject:
    """What the fixtures migrate with; override the fixture `automigrate_project` to choose."""

    scripts: str | None = None
    config: str | None = None
    ini_section: str = SECTION
    models: str | None = None
    target: str = "head"
    x_arguments: tuple[str, ...] = ()
    server: str | None = None

    def upgrade(self, database: Database) -> UpgradeReport:
        """Upgrade a database as the application does at its startup."""
        import automigrate

        return automigrate.upgrade(
            database.url,
            self.scripts,
            config=self.config,
            ini_section=self.ini_section,
            target=self.target,
            x_arguments=self.x_arguments,
        )


@pytest.fixture(scope="session")
def automigrate_project(pytestconfig: pytest.Config) -> MigratedProject:
    """Which migrations the other fixtures use, from the settings `automigrate_…` of pytest."""

    def path(name: str) -> str | None:
        value = str(pytestconfig.getini(name))
        if not value or ":" in value:
            return value or None
        return str(Path(pytestconfig.rootpath, value))

    section = str(pytestconfig.getini("automigrate_ini_section"))
    return MigratedProject(
        scripts=path("automigrate_scripts"),
        config=path("automigrate_config") or _config_in(pytestconfig.rootpath, section),
        ini_section=section,
        models=str(pytestconfig.getini("automigrate_models")) or None,
        target=str(pytestconfig.getini("automigrate_target")),
        x_arguments=tuple(pytestconfig.getini("automigrate_x_arguments")),
        server=os.environ.get(SERVER_VARIABLE) or pytestconfig.getini("automigrate_server") or None,
    )


@pytest.fixture(scope="session")
def automigrate_databases(automigrate_project: MigratedProject) -> Iterator[Databases]:
    """The server of this test process, on which databases are made."""
    from automigrate.testing.databases import serving

    with serving(automigrate_project.server) as databases:
        yield databases


@pytest.fixture(scope="session")
def migrated_template(
    automigrate_databases: Databases, automigrate_project: MigratedProject
) -> Iterator[Database]:
    """The database that the others are clones of, migrated once. Keep no session open in it."""
    with automigrate_databases.database() as template:
        automigrate_project.upgrade(template)
        yield template


@pytest.fixture
def migrated_database(
    automigrate_databases: Databases, migrated_template: Database
) -> Iterator[Database]:
    """A database of this test alone, with the schema of the newest revision."""
    with automigrate_databases.database(migrated_template) as database:
        yield database


@pytest.fixture
def empty_database(automigrate_databases: Databases) -> Iterator[Database]:
    """A database of this test alone, without any table."""
    with automigrate_databases.database() as database:
        yield database


def _config_in(root: Path, section: str) -> str | None:
    """Find the configuration in pytest's root, wherever pytest was called."""
    for name, heading in (("alembic.ini", f"[{section}]"), ("pyproject.toml", "[tool.alembic]")):
        file = root / name
        if file.is_file() and heading in file.read_text(encoding="utf-8"):
            return str(file)
    return None
