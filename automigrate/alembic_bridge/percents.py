"""Percent signs in statements that are given to the driver as they are.

`exec_driver_sql("… format('%I', name) …")` without parameters works with asyncpg, which knows no
percent placeholders. psycopg looks for them even where there is no parameter, and refuses them.
Only such statements, which would fail, are changed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["literal_percents", "looked_through_for_placeholders"]


def literal_percents(statement: str) -> str:
    """Double the percent signs of a statement without parameters that psycopg would refuse."""
    single = statement.replace("%%", "")
    if "%" not in single:
        return statement
    return statement.replace("%%", "%").replace("%", "%%")


def looked_through_for_placeholders(execution: Any) -> bool:
    """Whether the driver gets a text that SQLAlchemy has not escaped, and parameters with it."""
    return (
        execution is not None
        and execution.compiled is None
        and not execution.execution_options.get("no_parameters")
    )
