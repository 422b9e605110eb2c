"""Whether a database is a developer's own, which may be changed and emptied by hand."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError
from automigrate.workflow.history import read_recorded
from automigrate.workflow.reaching import reaching

if TYPE_CHECKING:
    from automigrate.database.url import DatabaseURL

__all__ = ["require_development"]


def require_development(url: DatabaseURL, what: str) -> None:
    """Refuse a database that others use, as far as its journal tells.

    It does when another host has applied a revision, or a release of the application has (the
    option `application_version`): that is what deployments do.

    Raises:
        ConfigurationError: it is shared.
        DatabaseUnavailableError: it cannot be asked.
    """
    here = socket.gethostname()
    with reaching(url):
        rows = read_recorded(url).rows
    for revision, entries in rows.items():
        for entry in entries:
            by = None
            if entry.application_version:
                by = f"release {entry.application_version} of the application"
            elif entry.host != here:
                by = f"host {entry.host}"
            if by is not None:
                raise ConfigurationError(
                    f"{url.describe()} is shared: its journal says that {by} has applied "
                    f"{revision}. `automigrate {what}` is for a database of your own; here write "
                    "a revision (`automigrate generate`) and run `automigrate upgrade`."
                )
