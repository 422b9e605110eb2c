"""What a shell offers for the value of an option or argument: revisions, choices, paths."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from automigrate.cli.catalogue import Kind
from automigrate.errors import AutomigrateError

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    from automigrate.cli.catalogue import Setting

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

__all__ = ["completion_of", "revisions"]

PATHS = {Kind.PATH: "file", Kind.SCRIPTS: "dir"}
"""Kinds whose values the shell itself knows better, and what click calls them."""


def completion_of(setting: Setting) -> Complete:
    """Return what completes the values of a setting."""
    if setting.name == "target":
        return revisions

    def complete(
        _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if setting.kind in PATHS:
            return [CompletionItem(incomplete, type=PATHS[setting.kind])]
        return [CompletionItem(c) for c in setting.choices or () if c.startswith(incomplete)]

    return complete


def revisions(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the revisions of the project, newest first, with their messages; never an error."""
    from automigrate.cli.group import flags_of
    from automigrate.cli.local import project_of
    from automigrate.cli.settings import resolve

    with suppress(AutomigrateError, OSError):  # nowhere to tell it on a half-written line
        graph = project_of(resolve(flags_of(dict(context.params)), required=())).graph
        found = reversed(graph.upgrade_order((), graph.heads))
        offered = [CompletionItem(name, help=graph[name].doc) for name in found]
        return [item for item in offered if item.value.startswith(incomplete)]
    return []
