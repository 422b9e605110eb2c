"""The project's filters, `include_schemas`, `include_name` and `include_object`.

They are asked as Alembic asks them, also for kinds that it does not compare: `check_constraint`,
`exclude_constraint`, `sequence`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.autogenerate.api import AutogenContext

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["Filters"]


class Filters:
    """What env.py leaves in a comparison."""

    def __init__(self, context: MigrationContext) -> None:
        self._schemas = bool(context.opts.get("include_schemas"))
        self._filters: Any = AutogenContext(context)

    def look_at(self, name: str, kind: str, schema: str | None, table: str | None = None) -> bool:
        """Whether something of the database is looked at, by its name.

        Args:
            name: of it.
            kind: such as `table` or `sequence`.
            schema: it is in; `None` for the default one.
            table: it belongs to, if it does.
        """
        if schema is not None and not (
            self._schemas and self._filters.run_name_filters(schema, "schema", {})
        ):
            return False
        parents = {"schema_name": schema} | ({"table_name": table} if table else {})
        return bool(self._filters.run_name_filters(name, kind, parents))

    def include_wanted(self, wanted: Any, name: str, kind: str, existing: Any = None) -> bool:
        """Whether something of the models counts, and what it is in the database, if it is."""
        return bool(self._filters.run_object_filters(wanted, name, kind, False, existing))

    def include_gone(self, existing: Any, name: str, kind: str) -> bool:
        """Whether it counts that the models lack something of the database."""
        return bool(self._filters.run_object_filters(existing, name, kind, True, None))
