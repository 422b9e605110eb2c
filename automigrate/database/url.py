"""Read every form of PostgreSQL URL into one value, and keep passwords out of every text.

`DatabaseURL.parse` takes what people have in ``DATABASE_URL``: libpq's URLs and keyword strings,
SQLAlchemy's URLs with any PostgreSQL driver, several hosts, socket directories, service names. The
value holds libpq parameters and nothing else, so that psycopg, libpq and SQLAlchemy are all served
from it. A value that cannot be read is refused with the fault and the remedy, and without a part
of the text that may be a password.

`scrub` removes secrets from texts of others: driver errors, statements, tracebacks.

Only `re` and `dataclasses` are imported, because a start with nothing to do passes here too.
"""

from __future__ import annotations

import os
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from automigrate.database import url_reading
from automigrate.database.redaction import encoded, scrub
from automigrate.database.url_reading import SECRET_PARAMETERS
from automigrate.errors import ConfigurationError
from automigrate.values import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DatabaseURL", "embedded_path", "is_embedded", "scrub"]

_ENVIRONMENT = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE")
_ASYNCPG_TLS = frozenset(
    """ssl_max_protocol_version ssl_min_protocol_version sslcert sslcrl sslkey sslmode
    sslnegotiation sslpassword sslrootcert""".split()  # noqa: SIM905 (one a line otherwise)
)
_LIBPQ_DRIVERS = frozenset({"", "psycopg", "psycopg2", "psycopg2cffi", "psycopg_async"})
_PLAIN_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")


@frozen
class DatabaseURL:
    """Where the database is and how to connect to it, as libpq parameters.

    Equal values have equal parameters. Only `parameters`, `conninfo`, `sqlalchemy_url` and
    `secrets` contain secrets; every rendering for people, `repr` included, is redacted.

    Attributes:
        settings: the parameters as sorted pairs; read `parameters` instead.
    """

    settings: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str | None, *, environ: Mapping[str, str] = os.environ) -> DatabaseURL:
        """Read a URL or a libpq keyword string; nothing at all means libpq's ``PG*`` variables.

        Args:
            text: the URL; white space around it is ignored.
            environ: where ``PG*`` variables are looked for when the text is empty.

        Raises:
            ConfigurationError: the text cannot be used; names every fault, never a password.
        """
        stripped = (text or "").strip()
        if not stripped:
            if any(environ.get(name) for name in _ENVIRONMENT):
                return cls(settings=())
            raise ConfigurationError(
                "no database is named: the URL is empty and neither PGHOST, PGDATABASE nor "
                f"PGSERVICE is set. {url_reading.EXAMPLE}."
            )
        return cls._from(url_reading.pairs(stripped), hidden="@" in stripped.partition("?")[2])

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> DatabaseURL:
        """Build from names and decoded values, translating the parameters of other drivers.

        Later values replace earlier ones; empty ones count as not given.

        Raises:
            ConfigurationError: names every unknown parameter and every unusable value.
        """
        return cls._from(pairs, hidden=False)

    @classmethod
    def _from(cls, pairs: Iterable[tuple[str, str]], *, hidden: bool) -> DatabaseURL:
        parameters = url_reading.libpq_parameters(pairs, hidden=hidden)
        return cls(settings=tuple(sorted(parameters.items())))

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the keyword arguments for `psycopg.connect`."""
        return MappingProxyType(dict(self.settings))

    @property
    def secrets(self) -> frozenset[str]:
        """Return what must appear in no text; with no password here, the one in ``PGPASSWORD``."""
        own = {value for key, value in self.settings if key in SECRET_PARAMETERS}
        if "password" not in dict(self.settings):
            own.add(os.environ.get("PGPASSWORD", ""))
        return frozenset(own - {""})

    @property
    def redacted(self) -> str:
        """Return the URL with ``***`` in place of every secret."""
        shown = {key: "***" if key in SECRET_PARAMETERS else v for key, v in self.settings}
        return _render("postgresql", shown)

    def __repr__(self) -> str:
        """Return the redacted URL."""
        return f"DatabaseURL({self.redacted!r})"

    def __str__(self) -> str:
        """Return the redacted URL."""
        return self.redacted

    def describe(self) -> str:
        """Name the database for an error text: ``database app at db.example:5432``.

        Parts that are not given are filled as libpq would fill them, as far as ``PG*`` says.
        """
        given = dict(self.settings)
        environ = os.environ
        name = given.get("dbname") or environ.get("PGDATABASE") or given.get("user")
        database = f"database {name}" if name else "the default database"
        host = given.get("host") or given.get("hostaddr")
        service = given.get("service") or environ.get("PGSERVICE")
        if not host and service:
            return f"{database} of service {service}"
        host = host or environ.get("PGHOST") or environ.get("PGHOSTADDR")
        ports = (given.get("port") or environ.get("PGPORT") or "5432").split(",")
        if not host:
            return f"{database} at the default socket, port {ports[0] or '5432'}"
        hosts = host.split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        places = (_place(h, p or "5432") for h, p in zip(hosts, ports, strict=False))
        return f"{database} at {', '.join(places)}"

    def conninfo(self) -> str:
        """Return a libpq keyword string, for ``PQconnectdb`` and for tools such as pg_dump."""
        return " ".join(f"{key}={_conninfo_value(value)}" for key, value in self.settings)

    def sqlalchemy_url(self, drivername: str = "postgresql+psycopg") -> str:
        """Return a URL with the password in it, as the driver's SQLAlchemy dialect wants it.

        libpq's drivers get every parameter. asyncpg gets place, credentials and TLS, other drivers
        place and credentials only: they refuse the rest.

        Args:
            drivername: dialect and driver, for example ``postgresql+asyncpg``.
        """
        given = dict(self.settings)
        driver = drivername.partition("+")[2]
        if driver in _LIBPQ_DRIVERS:
            return _render(drivername, given)
        core = {k: v for k, v in given.items() if k in {"user", "password", "host", "port"}}
        if "dbname" in given:
            core["database"] = given["dbname"]
        if driver == "asyncpg":
            core |= _asyncpg_parameters(given)
        return _render(drivername, core)


def is_embedded(text: str | None) -> bool:
    """Say whether the text asks for a PostgreSQL of automigrate's own: ``embedded:PATH``."""
    return text is not None and text.strip().startswith("embedded:")


def embedded_path(text: str) -> str:
    """Return the data directory that ``embedded:PATH`` names.

    Raises:
        ConfigurationError: the text is of another form, or names no directory.
    """
    path = text.strip().removeprefix("embedded:").strip() if is_embedded(text) else ""
    if not path:
        raise ConfigurationError(
            "an embedded database needs a directory. Write it as embedded:PATH, for example "
            "embedded:./.postgres."
        )
    return path


def _render(drivername: str, given: Mapping[str, str]) -> str:
    """Write a URL that SQLAlchemy 2.0 and later reads.

    SQLAlchemy decodes neither hosts nor, before 2.1, the database in the path; and for several
    hosts it wants ``?host=a,b&port=1,2``, which also carries sockets and IPv6. So what is not
    plain goes into the query.
    """
    left = dict(given)
    netloc = path = ""
    if "user" in left or "password" in left:
        netloc = encoded(left.pop("user", ""))
        if "password" in left:
            netloc += f":{encoded(left.pop('password'), '*')}"
        netloc += "@"
    if _PLAIN_HOST.fullmatch(left.get("host", "")) and "," not in left.get("port", ""):
        host = left.pop("host")
        netloc += f"[{host}]" if ":" in host else host
        netloc += f":{left.pop('port')}" if "port" in left else ""
    name = "database" if "database" in left else "dbname"
    if _PLAIN_NAME.fullmatch(left.get(name, "")):
        path = f"/{left.pop(name)}"
    elif left:
        path = "/"
    query = "&".join(f"{key}={encoded(value, '/:,*')}" for key, value in sorted(left.items()))
    return f"{drivername}://{netloc}{path}{'?' if query else ''}{query}"


def _asyncpg_parameters(given: Mapping[str, str]) -> dict[str, str]:
    """Return what asyncpg can be told through SQLAlchemy; TLS files go through its ``dsn``."""
    kept = {k: given[k] for k in ("passfile", "target_session_attrs", "krbsrvname") if k in given}
    tls = {key: value for key, value in given.items() if key in _ASYNCPG_TLS}
    if set(tls) == {"sslmode"}:
        kept["ssl"] = tls["sslmode"]
    elif tls:
        kept["dsn"] = _render("postgresql", tls)
    if "," in given.get("host", ""):
        ports = given.get("port", given["host"].count(",") * ",").split(",")
        kept["port"] = ",".join(port or "5432" for port in ports)
    return kept


def _conninfo_value(value: str) -> str:
    if re.fullmatch(r"[\w./:@,+-]+", value):
        return value
    return "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"


def _place(host: str, port: str) -> str:
    if host.startswith(("/", "@")):
        return f"socket {host}, port {port}"
    return f"[{host}]:{port}" if ":" in host else f"{host or 'localhost'}:{port}"
