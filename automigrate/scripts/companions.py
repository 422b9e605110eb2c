"""The SQL files that a script runs, as `automigrate new --sql` writes them.

Known without importing the script: `Path(__file__).with_suffix(".up.sql")`, or `with_name`, with
the name as it stands there. What a script finds in another way is its own business.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from automigrate.scripts.files import content

__all__ = ["ENDING", "checksum_with_companions"]

ENDING = ".sql"


def checksum_with_companions(checksum: str, module: ast.Module, path: str) -> str:
    """Hash a script's own checksum together with the SQL files that it names.

    Line ends do not count, since git may change them; all else does, comments too: what is a
    comment is for the server to say.

    Args:
        checksum: of the script; returned as it is where it names no such file.
        module: its syntax tree.
        path: where it is, and they beside it.

    Raises:
        ScriptImportError: a file that it names cannot be read.
    """
    named = _companions(module, Path(path))
    if not named:
        return checksum
    total = hashlib.sha256(checksum.encode())
    for name in sorted(named):
        text = content(str(named[name])).replace(b"\r\n", b"\n")
        total.update(f"\n{name!a} {hashlib.sha256(text).hexdigest()}".encode())
    return total.hexdigest()


def _companions(module: ast.Module, script: Path) -> dict[str, Path]:
    """Return the files by what they are called in the script, so that it may be renamed."""
    found: dict[str, Path] = {}
    for node in ast.walk(module):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Call(args=[ast.Name(id="__file__")]),
                    attr="with_suffix" | "with_name" as way,
                ),
                args=[ast.Constant(value=str(name))],
            ) if name.endswith(ENDING) and "/" not in name:
                if way == "with_name":
                    found[name] = script.with_name(name)
                elif name.startswith("."):  # Python refuses any other suffix
                    found[name] = script.with_suffix(name)
    return found
