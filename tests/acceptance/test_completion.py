"""Completion as a person gets it: a real shell on a terminal, and the key Tab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.desk import Desk
from tests.support.servers import requires
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from tests.support.servers import Database

SHELLS = {
    "bash": ("--norc --noprofile -i", 'eval "$(automigrate completion bash)"'),
    "zsh": (
        "-f -i",
        'autoload -Uz compinit && compinit -u -D && eval "$(automigrate completion zsh)"',
    ),
    "fish": ("--no-config -i", "automigrate completion fish | source"),
}
"""How each is started without the person's own settings, and the line of our documentation."""
CLEAR = "\x15"
"""Ctrl-U empties the line."""


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(tmp_path: Path, database: Database, shell: str) -> None:
    """Commands, options, choices and the revisions of the project, at the key Tab."""
    program = requires(shell)
    flags, setup = SHELLS[shell]
    desk = Desk(tmp_path, database)
    desk.run("init")
    for name in ("first", "second"):
        desk.run("new", "-m", name, "--rev-id", f"{name}0")
    bin_directory = Path(sys.executable).parent
    environment = desk.environment(HOME=str(tmp_path), TERM="xterm", PS1="$ ")
    environment["PATH"] = f"{bin_directory}:{environment['PATH']}"
    command = [str(requires("setsid")), "--ctty", str(program), *flags.split()]
    with Terminal(command, cwd=tmp_path, env=environment) as terminal:
        terminal.type(f"{setup}; echo rea''dy\n")
        terminal.until("ready")
        for typed, completed in (
            ("automigrate gen\t", "automigrate generate "),
            ("automigrate upgrade --lock-timeout-m\t", "--lock-timeout-max "),
            ("automigrate upgrade --mode wa\t", "--mode wait "),
            ("automigrate show sec\t", "automigrate show second0 "),
            ("automigrate rollback --to \t\t", "first0"),
        ):
            terminal.type(f"{CLEAR}{typed}")
            terminal.until(completed.rstrip())
        terminal.type(f"{CLEAR}exit\n")
        terminal.end()
