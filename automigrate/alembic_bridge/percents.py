"""Placeholders in statements that are given to the driver as they are.

`exec_driver_sql("… format('%I', name) …")` without parameters works with asyncpg, which knows no
percent placeholders. psycopg looks for them even where there is no parameter, and refuses them.
Its own placeholders are numbered: `exec_driver_sql("insert … values ($1, $2)", (1, "a"))`. Only
such statements, which would fail, are changed.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["literal_percents", "looked_through_for_placeholders", "numbered_placeholders"]

_NUMBERED = re.compile(r"\$(\d+)")
_OF_PSYCOPG = re.compile(r"%[sbt(]")


def literal_percents(statement: str) -> str:
    """Double the percent signs of a statement without parameters that psycopg would refuse."""
    single = statement.replace("%%", "")
    if "%" not in single:
        return statement
    return statement.replace("%%", "%").replace("%", "%%")


def numbered_placeholders(statement: str, parameters: Any) -> tuple[str, Any]:
    """Put psycopg's placeholders in the place of numbered ones, and parameters in order."""
    if _OF_PSYCOPG.search(statement) or not _NUMBERED.search(statement):
        return statement, parameters
    order = [int(number) - 1 for number in _NUMBERED.findall(statement)]
    many = isinstance(parameters, list)
    rows = parameters if many else [parameters]
    if not all(isinstance(row, tuple | list) and len(row) > max(order) for row in rows):
        return statement, parameters
    arranged = [tuple(row[index] for index in order) for row in rows]
    return _NUMBERED.sub("%s", statement.replace("%", "%%")), arranged if many else arranged[0]


def looked_through_for_placeholders(execution: Any) -> bool:
    """Whether the driver gets a text that SQLAlchemy has not escaped, and parameters with it."""
    return (
        execution is not None
        and execution.compiled is None
        and not execution.execution_options.get("no_parameters")
    )
