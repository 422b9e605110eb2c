"""`automigrate completion`."""

from __future__ import annotations

import click

from automigrate.cli import output


@click.command(
    epilog='\b\nExamples:\n  eval "$(automigrate completion bash)"\n'
    "  automigrate completion fish > ~/.config/fish/completions/automigrate.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the script that lets a shell complete commands and options."""
    from click.shell_completion import get_completion_class

    from automigrate.cli.group import COMPLETING, root

    found = get_completion_class(shell)
    assert found is not None
    output.line(found(root, {}, "automigrate", COMPLETING).source())
    return 0
