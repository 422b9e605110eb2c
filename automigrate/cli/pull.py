"""`automigrate pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import (
    as_json,
    database_of,
    local,
    project_of,
    rehearsal_on,
    scratch_of,
    tell_files,
    warn,
    writes_lock,
)
from automigrate.database.session import VERSION_TABLE
from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local(
    "automigrate pull --database-url postgresql:///shop --out shop/models.py",
    required=("database_url",),
)
@click.option("--out", default="models.py", show_default=True, help="File for the models.")
@click.option("--generator", default="declarative", show_default=True, help="Of sqlacodegen.")
@click.option("--schema", "schemas", multiple=True, help="Of the tables; may be repeated.")
@click.option("--models-only", is_flag=True, help="Write no first revision.")
@click.option("--overwrite", is_flag=True, help="Replace the file of the models.")
@as_json
def command(
    settings: Settings,
    *,
    out: str,
    generator: str,
    schemas: tuple[str, ...],
    models_only: bool,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Write models for an existing database, and the revision that makes its tables.

    The database is only read. Afterwards record in it that it is at that revision, by
    `automigrate baseline`. Needs sqlacodegen (`pip install automigrate[pull]`).
    """
    from automigrate.workflow import comparison
    from automigrate.workflow.generate import generate
    from automigrate.workflow.pull import load, pull

    file = Path(out)
    if file.exists() and not overwrite:
        raise ConfigurationError(f"{file} exists; say --overwrite, or name another --out.")
    project = None if models_only else project_of(settings)
    if project is not None and len(project.graph):
        raise ConfigurationError(
            f"there are {len(project.graph)} revisions already. Say --models-only for the models."
        )
    with database_of(settings) as given:
        pulled = pull(
            DatabaseURL.parse(given),
            generator=generator,
            schemas=schemas,
            version_table=settings.options.get("version_table") or VERSION_TABLE,
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(pulled.source, encoding="utf-8")
    written = [str(file)]
    if project is not None:
        with scratch_of(settings) as scratch:
            rehearsal = rehearsal_on(
                scratch,
                settings,
                project,
                models=(load(file),),
                configured=comparison.configured(),
            )
            made = generate(project, rehearsal, "baseline")
        written += [project.relative(str(path)) for path in made.files]
        written += writes_lock(project.reread())
    if as_json:
        output.json_line({"files": written, "tables": pulled.tables, "left_out": pulled.left_out})
        return 0
    tell_files(written)
    if pulled.left_out:
        warn([f"models do not describe {', '.join(pulled.left_out)}: add them to the revision."])
    tables = f"{pulled.tables} table{'' if pulled.tables == 1 else 's'}"
    output.line(f"automigrate: {tables}; next: automigrate baseline")
    return 0
