"""`automigrate check`: the gate of CI, and with a database the judgement of its schema."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import click

from automigrate.cli import output, reports, running
from automigrate.cli.catalogue import SETTINGS
from automigrate.cli.local import (
    database_of,
    local,
    metadata_of,
    reported,
    scratch_of,
    tell_checks,
)
from automigrate.database.session import VERSION_TABLE
from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError, ScriptError
from automigrate.options import SECTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automigrate.cli.settings import Settings
    from automigrate.verdict import Status
    from automigrate.workflow.formats import Check
    from automigrate.workflow.policy import Size

NEED_A_DATABASE = {"round-trip", "models", "lint"}
NAMES = ("history", "heads", "lock", "applied", "downgrades", "round-trip", "models", "lint")


@local(
    "automigrate check --models shop.models:Base",
    "automigrate check --format sarif --output automigrate.sarif",
    "automigrate check --database-url postgresql:///shop",
    also=tuple(setting.name for setting in SETTINGS),
)
@click.option("--gate", is_flag=True, help="Run the gate, though a database is named.")
@click.option(
    "--only", multiple=True, type=click.Choice(NAMES), help="Just this part; may be repeated."
)
@click.option("--skip", multiple=True, type=click.Choice(NAMES), help="Not this part.")
@click.option("--since", multiple=True, metavar="REVISION", help="Lint what is newer than this.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@reported
def command(
    settings: Settings,
    *,
    gate: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    since: tuple[str, ...],
    as_json: bool,
    form: str,
    to: str | None,
    strict: bool,
) -> int:
    """Check the revisions before they are deployed; or, with a database, its schema.

    Without a database: one history with a single head, a fresh automigrate.lock, a downgrade for
    every revision, each one up, down and up again on a scratch database, models equal to the
    revisions, locks. Exits 0, or 3 when a check failed.

    With a database: judge its schema once; wait for nothing, change nothing. Exits 0 if the code
    may serve on it, 6 if not, 7 if a revision was interrupted. --gate asks for both at once, with
    the sizes of the real tables, and whether an applied script was edited.
    """
    gate = gate or bool(only or skip or since or to) or form != "text"
    if settings.database is not None and not gate:
        return _judge(settings, as_json=as_json)
    names = [name for name in only or NAMES if name not in skip]
    if not names:
        raise ConfigurationError("--only and --skip leave no check.")
    checks = _gate(settings, names, since)
    return tell_checks(checks, "json" if as_json else form, to, strict=strict)


def _judge(settings: Settings, *, as_json: bool) -> int:
    with running.migrating(settings) as migrator:
        status = migrator.check()
    if as_json:
        output.json_line(reports.as_json(status))
    else:
        output.line(f"automigrate: {reports.judgement(status)}")
    return 0


def _gate(settings: Settings, names: Sequence[str], since: Sequence[str]) -> list[Check]:
    from automigrate.workflow.gate import Gate

    status, sizes = _known_of(settings)
    runs = not NEED_A_DATABASE.isdisjoint(names)
    place = scratch_of(settings) if runs else nullcontext()
    with place as scratch, output.progress(len(names)) as told:
        return Gate(
            scripts=settings.scripts,
            config=settings.options.get("config"),  # type: ignore[arg-type]
            ini_section=settings.options.get("ini_section") or SECTION,
            scratch=scratch,
            models=lambda project: metadata_of(settings, project),
            status=status,
            lint_since=since or None,
            sizes=sizes,
            version_table=settings.options.get("version_table") or VERSION_TABLE,
            x_arguments=settings.options.get("x_arguments") or (),
            told=told,
        ).run(names)


def _known_of(settings: Settings) -> tuple[Status | None, dict[str, Size] | None]:
    """Ask the database, if one is named, for its status and the sizes of its tables."""
    if settings.database is None:
        return None, None
    from automigrate.workflow.policy import read_sizes

    with running.migrating(settings) as migrator, database_of(settings) as url:
        status = None
        with suppress(ScriptError):  # what is wrong with the scripts, the checks of them tell
            status = migrator.status()
        return status, read_sizes(DatabaseURL.parse(url))
