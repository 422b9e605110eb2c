"""Ready tests of a project's migrations, to import into a test module of your own.

    from automigrate.testing.contract import *  # noqa: F403

or name those that you want. Each asks one question of `automigrate check`, on a real database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from automigrate.testing.databases import Database, Databases
    from automigrate.testing.plugin import MigratedProject

__all__ = [
    "test_downgrade_leaves_no_trace",
    "test_lock_file_fresh",
    "test_models_match",
    "test_single_head",
    "test_upgrade_from_base",
]


def test_single_head(
    automigrate_project: MigratedProject, automigrate_databases: Databases
) -> None:
    """The revisions form one history with one head."""
    _ask("heads", automigrate_project, automigrate_databases)


def test_upgrade_from_base(automigrate_project: MigratedProject, empty_database: Database) -> None:
    """An empty database can be brought to the newest revision, and then nothing is pending."""
    first = automigrate_project.upgrade(empty_database)
    assert first.applied, "there is no revision"
    again = automigrate_project.upgrade(empty_database)
    assert not again.applied


def test_models_match(
    automigrate_project: MigratedProject, automigrate_databases: Databases
) -> None:
    """The revisions make the tables that the models describe."""
    _ask("models", automigrate_project, automigrate_databases)


def test_downgrade_leaves_no_trace(
    automigrate_project: MigratedProject, automigrate_databases: Databases
) -> None:
    """Each revision goes up, down and up again, to the same schema each time."""
    _ask("round-trip", automigrate_project, automigrate_databases)


def test_lock_file_fresh(
    automigrate_project: MigratedProject, automigrate_databases: Databases
) -> None:
    """automigrate.lock, where there is one, fits the scripts."""
    _ask("lock", automigrate_project, automigrate_databases)


def _ask(question: str, project: MigratedProject, databases: Databases) -> None:
    """Ask a question of the gate; fail with what it finds, or skip with why it cannot be asked."""
    from automigrate.workflow.findings import Level
    from automigrate.workflow.gate import Gate
    from automigrate.workflow.models import load_models

    scratch = databases.scratch
    gate = Gate(
        scripts=project.scripts,
        config=project.config,
        ini_section=project.ini_section,
        scratch=scratch,
        x_arguments=project.x_arguments,
        models=lambda found: (
            None
            if project.models is None
            else load_models(project.models, paths=found.location.prepend_sys_path)
        ),
    )
    try:
        checks = gate.run([question])
    finally:
        scratch.drop_all()
    faults = [str(f) for check in checks for f in check.findings if f.level is Level.ERROR]
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)
    if checks[-1].skipped:
        pytest.skip(checks[-1].skipped)
