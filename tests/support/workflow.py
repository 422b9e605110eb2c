"""A project under work: models in memory, revisions in a directory, scratch databases."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, pool

import automigrate
from automigrate.database.url import DatabaseURL
from automigrate.workflow import comparison
from automigrate.workflow.answers import Answers
from automigrate.workflow.generate import Generated, Proposal, generate, propose
from automigrate.workflow.initialise import initialise
from automigrate.workflow.project import Project, open_project
from automigrate.workflow.rehearsal import Rehearsal
from automigrate.workflow.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import MetaData

    from automigrate.embedded import EmbeddedServer
    from tests.support.servers import Database

__all__ = ["Workbench"]


class Workbench:
    """An empty project made by `init`, with a server for scratch databases.

    Attributes:
        directory: the script directory.
    """

    def __init__(self, directory: Path, server: EmbeddedServer) -> None:
        self.directory = directory / "migrations"
        self.scratch = Scratch(DatabaseURL.parse(server.url()))
        with contextlib.chdir(directory):  # where its pyproject.toml is written
            initialise("migrations")

    @property
    def project(self) -> Project:
        """The project as its files are now."""
        return open_project(str(self.directory))

    def rehearsal(self, *models: MetaData, **more: Any) -> Rehearsal:
        """Make a rehearsal on a new scratch database."""
        more = {"configured": comparison.configured(), **more}
        return Rehearsal(self.project, self.scratch.database(), models=models or None, **more)

    def generate(
        self,
        models: MetaData,
        message: str = "a change",
        *,
        safe: bool = True,
        rev_id: str | None = None,
        head: str = "head",
        **answers: Any,
    ) -> Generated:
        """Write the revisions for a change of the models."""
        return generate(
            self.project,
            self.rehearsal(models),
            message,
            answers=Answers(**answers),
            safe=safe,
            rev_id=rev_id,
            head=head,
        )

    def upgrade(self, database: Database, target: str = "head") -> list[str]:
        """Run what is pending; return what was applied."""
        report = automigrate.upgrade(database.url, str(self.directory), target=target)
        return [applied.revision for applied in report.applied]

    def differences(self, database: Database, models: MetaData) -> list[str]:
        """Say what the models have and a database has not."""
        with context_on(database, models) as context:
            return propose(context, Answers()).described()

    def proposal(self, database: Database, models: MetaData) -> Proposal:
        """Compare the models with a database."""
        with context_on(database, models) as context:
            return propose(context, Answers())

    def text(self) -> str:
        """Return the text of all revisions."""
        files = sorted(self.directory.glob("versions/*.py"))
        return "\n".join(file.read_text() for file in files)

    def add(self, upgrade: str, downgrade: str = "pass", **given: Any) -> str:
        """Write a revision by hand; return its identifier."""
        from automigrate.workflow.revisions import new

        (file,) = new(self.project, given.pop("message", "by hand"), **given)
        source = file.read_text()
        head, _, tail = source.rpartition("    pass\n")
        middle, _, _ = head.rpartition("    pass\n")
        between = head[len(middle) + len("    pass\n") :]
        file.write_text(f"{middle}    {upgrade}\n{between}    {downgrade}\n{tail}")
        project = self.project
        project.update_lock()
        return project.graph.heads[0]


class context_on:  # noqa: N801 - reads as a function
    """A migration context on a database, whose changes are rolled back."""

    def __init__(self, database: Database, models: MetaData) -> None:
        url = DatabaseURL.parse(database.url).sqlalchemy_url()
        self._connection = create_engine(url, poolclass=pool.NullPool).connect()
        given: dict[str, Any] = {"target_metadata": [models]}
        for name, value in comparison.configured().items():
            given[name] = value(None, given)
        self._context = MigrationContext.configure(self._connection, opts=given)

    def __enter__(self) -> MigrationContext:
        return self._context

    def __exit__(self, *_: object) -> None:
        self._connection.rollback()
        self._connection.close()


def benches(directory: Path, server: EmbeddedServer) -> Iterator[Workbench]:
    """Make a bench, and drop its scratch databases in the end; the body of a fixture."""
    bench = Workbench(directory, server)
    try:
        yield bench
    finally:
        bench.scratch.drop_all()
