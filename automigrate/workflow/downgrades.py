"""What a script's text says about its way back."""

from __future__ import annotations

import ast
import enum
import re
from typing import NamedTuple

__all__ = ["NOTHING_TO_UNDO", "Way", "way_back"]

NOTHING_TO_UNDO = "nothing to undo"
"""In a comment of downgrade(): that it is empty is meant."""


class Way(enum.Enum):
    """How a revision is undone."""

    WRITTEN = "written"
    """downgrade() does something, or upgrade() does nothing."""
    NOTHING = "nothing"
    """downgrade() is empty, and a comment says that it is meant to be."""
    IRREVERSIBLE = "irreversible"
    """downgrade() raises, which says so."""
    MISSING = "missing"
    """upgrade() does something and downgrade() nothing, without a word."""


class WayBack(NamedTuple):
    """How, and in which line of the script."""

    way: Way
    line: int = 1


def way_back(source: str) -> WayBack:
    """Read it from the text of a script; one that cannot be parsed counts as written."""
    try:
        functions = {
            node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
        }
    except SyntaxError:
        return WayBack(Way.WRITTEN)
    upgrade, downgrade = functions.get("upgrade"), functions.get("downgrade")
    if downgrade is not None and any(isinstance(node, ast.Raise) for node in downgrade.body):
        return WayBack(Way.IRREVERSIBLE, downgrade.lineno)
    if upgrade is None or not _does_something(upgrade):
        return WayBack(Way.WRITTEN)
    if downgrade is None:
        return WayBack(Way.MISSING, upgrade.lineno)
    text = ast.get_source_segment(source, downgrade) or ""
    if _does_something(downgrade):
        return WayBack(Way.WRITTEN, downgrade.lineno)
    declared = re.search(rf"#.*\b{NOTHING_TO_UNDO}\b", text)
    return WayBack(Way.NOTHING if declared else Way.MISSING, downgrade.lineno)


def _does_something(function: ast.FunctionDef) -> bool:
    return any(
        not isinstance(node, ast.Pass)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in function.body
    )
