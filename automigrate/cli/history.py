"""`automigrate history`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from automigrate.cli import output
from automigrate.cli.local import as_json, database_of, local, project_of
from automigrate.cli.output import duration
from automigrate.database.url import DatabaseURL
from automigrate.errors import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.cli.settings import Settings
    from automigrate.workflow.history import Entry, Recorded


@local("automigrate history", "automigrate history --database-url postgresql:///shop --json")
@as_json
def command(settings: Settings, *, as_json: bool) -> int:
    """Show all revisions, newest first, and with a database what is applied: when, by whom.

    `*` is applied, `o` is pending; without a database it is not known.
    """
    from automigrate.workflow.history import history

    project = project_of(settings)
    entries = history(project, recorded_in(settings))
    if as_json:
        output.json_line([dataclasses.asdict(entry) for entry in entries])
        return 0
    for entry in entries:
        for line in lines(entry):
            output.line(line)
    if not entries:
        output.line("automigrate: no revision yet; write one with `automigrate generate`")
    return 0


def recorded_in(settings: Settings) -> Recorded | None:
    """Read what the database says, if one is named.

    Raises:
        DatabaseUnavailableError: it cannot be reached.
    """
    if settings.database is None:
        return None
    from automigrate.workflow.history import read_recorded
    from automigrate.workflow.reaching import reaching

    with database_of(settings) as url:
        found = DatabaseURL.parse(url)
        with reaching(found):
            return read_recorded(
                found,
                version_table=settings.options.get("version_table") or "alembic_version",
                schema=settings.options.get("version_table_schema"),
            )


def lines(entry: Entry) -> Iterator[str]:
    """Say what a revision is."""
    mark = {None: " ", True: "*", False: "o"}[entry.applied]
    marks = ["head"] if entry.head else []
    marks += [f"label {label}" for label in entry.branch_labels]
    if len(entry.down_revisions) > 1:
        marks.append("merge")
    if not entry.down_revisions:
        marks.append("base")
    listed = f" ({', '.join(marks)})" if marks else ""
    yield f"{mark} {entry.revision}{listed} {entry.message}"
    if entry.down_revisions:
        yield f"    on {names(entry.down_revisions)}"
    if entry.depends_on:
        yield f"    depends on {names(entry.depends_on)}"
    for row in entry.journal:
        took = "" if row.seconds is None else f" in {duration(row.seconds)}"
        release = f", release {row.application_version}" if row.application_version else ""
        what = row.state if row.direction == "upgrade" else f"{row.direction} {row.state}"
        when = f"{row.at:%Y-%m-%d %H:%M:%S %z}"
        yield f"    {what} {when}{took} by {row.host}, pid {row.pid}{release}"
        if row.backup:
            yield f"    backup before it: {row.backup}"
        if row.restore_point:
            yield f"    restore point before it: {row.restore_point} at {row.restore_lsn}"
        if row.error:
            yield f"    {row.error}"
