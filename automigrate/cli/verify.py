"""`automigrate verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output, seen
from automigrate.cli.local import as_json, local, project_of, reported
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings

_UNITS = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


@local(
    "automigrate verify --database-url postgresql://reader@db/shop",
    "automigrate verify --since main_head --format github",
)
@click.option("--since", multiple=True, metavar="REVISION", help="Take these as applied.")
@click.option("--large-rows", default=100_000, show_default=True, help="A table is large from.")
@click.option("--large-size", default="256MB", show_default=True, help="Or from this size.")
@click.option("--squawk/--no-squawk", default=True, help="Ask squawk, too, where installed.")
@as_json
@reported
def command(
    settings: Settings,
    *,
    since: tuple[str, ...],
    large_rows: int,
    large_size: str,
    squawk: bool,
    as_json: bool,
    form: str,
    to: str | None,
    strict: bool,
) -> int:
    """See on a scratch database which locks pending DDL takes, what it rewrites and scans.

    With --database-url the sizes of the real tables decide: what blocks a large table is an error
    (exit code 3), on a small one it is nothing. Without one it is a warning. Each finding names the
    safe alternative.
    """
    from automigrate.cli.local import tell_checks
    from automigrate.workflow.formats import Check
    from automigrate.workflow.policy import Policy, judge
    from automigrate.workflow.squawk import second_opinion

    form = "json" if as_json else form
    project = project_of(settings)
    pending, sizes = seen.pending_of(settings, project, since)
    found = seen.look_at(settings, project, pending)
    policy = Policy(rows=large_rows, size=_bytes(large_size))
    findings = judge(found, sizes, policy)
    findings += second_opinion(found) if squawk else ()
    checks = [
        Check(
            name=revision.revision,
            title=f"{revision.revision} {revision.message}",
            findings=tuple(item for item in findings if item.revision == revision.revision),
        )
        for revision in found
    ]
    if form == "text":
        for line in seen.text(found, sizes):
            output.line(line)
        if not pending:
            output.line("-- nothing pending")
    return tell_checks(checks, form, to, strict=strict)


def _bytes(text: str) -> int:
    number = text.upper().rstrip("KMGTB")
    unit = text.upper()[len(number) :]
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"--large-size {text!r}: write 500MB or 2GB.") from error
