"""Take database URLs and libpq keyword strings apart, and translate drivers' parameters to libpq's.

The pure half of `automigrate.database.url`: text in, pairs of libpq parameters out, or a
`ConfigurationError` that names the fault and the remedy. No text that may be a piece of a
password is repeated: an unescaped ``@`` or ``/`` lets a password spill into host, port, database
and query, so values are never shown, and unknown names only where they cannot be such a piece.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# PostgreSQL manual, "Parameter Key Words", up to version 18. An older libpq refuses the newer ones
# itself, with a clear text.
LIBPQ_PARAMETERS = frozenset(
    """application_name channel_binding client_encoding connect_timeout dbname
    fallback_application_name gssdelegation gssencmode gsslib host hostaddr keepalives
    keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts
    max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer
    oauth_scope options passfile password port replication require_auth requirepeer
    scram_client_key scram_server_key service servicefile ssl_max_protocol_version
    ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey
    sslkeylogfile sslmode sslnegotiation sslpassword sslrootcert sslsni target_session_attrs
    tcp_user_timeout user""".split()  # noqa: SIM905 (one a line otherwise)
)
SECRET_PARAMETERS = frozenset(
    {"oauth_client_secret", "password", "scram_client_key", "scram_server_key", "sslpassword"}
)
_LAST_PORT = 65535
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# Names that only drivers know. The last group steers statement caches and cursors of the app's
# own sessions; the migration session has neither, and no limit on a statement's time.
_ALIASES = {"database": "dbname", "username": "user", "tcp_keepalive": "keepalives"}
_DROPPED = frozenset(
    """async_fallback autocommit command_timeout executemany_mode max_cacheable_statement_size
    max_cached_statement_lifetime prepare_threshold prepared_statement_cache_size
    prepared_statement_name_func statement_cache_size use_native_hstore""".split()  # noqa: SIM905 (one a line otherwise)
)
_DRIVERS = frozenset(
    {"aiopg", "asyncpg", "pg8000", "psycopg", "psycopg2", "psycopg2cffi", "psycopg_async"}
)

_URL = re.compile(r"([A-Za-z][\w.-]*)(?:\+([\w+.-]*))?://(.*)", re.DOTALL)
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*['\"]?[A-Za-z][\w+.-]*://")
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([^:]*))?")
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9.-]+|\[[^\[\]]+\])?:(\d*)")
_KEYWORD = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*")
_KEYWORD_VALUE = re.compile(
    r"'((?:\\.|[^'\\])*)'(?=\s|$)|((?:\\.|[^\s'\\])(?:\\.|[^\s\\])*)?", re.DOTALL
)

_ESCAPES = "Percent-encode special characters in user and password: @ %40, / %2F, : %3A, % %25"
EXAMPLE = "Write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE"


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Split a URL or keyword string into decoded pairs, as written.

    Raises:
        ConfigurationError: the text is of another form, or its parts cannot be told apart.
    """
    _refuse_wrapping(text)
    found = _URL.match(text)
    if found is None:
        yield from _keyword_pairs(text)
        return
    scheme, driver, rest = found.groups()
    _check_scheme(scheme.lower(), driver)
    yield from _url_pairs(rest, plus_is_space=driver is not None)


def libpq_parameters(given: Iterable[tuple[str, str]], *, hidden: bool) -> dict[str, str]:
    """Translate the parameters of any driver to libpq's.

    Args:
        given: names and values; later ones replace earlier ones, empty ones count as not given.
        hidden: whether an unknown name may be a piece of a badly escaped password.

    Raises:
        ConfigurationError: names every unknown parameter and every unusable value.
    """
    faults: list[str] = []
    found: dict[str, str] = {}
    for name, value in given:
        for key, translated in _translated(name, value, faults, hidden=hidden):
            if key == "options" and key in found:
                found[key] += f" {translated}"
            elif translated:
                found[key] = translated
    faults.extend(_unusable(found))
    if faults:
        raise ConfigurationError(faults)
    hosts = found.get("host", "").split(",")
    if len(hosts) > 1 and found.get("port", ",").isdecimal():
        found["port"] = ",".join([found["port"]] * len(hosts))  # SQLAlchemy wants one each
    return found


def _refuse_wrapping(text: str) -> None:
    """Refuse what is not a URL but contains one, naming what to take away."""
    if text.isprintable() and _URL.match(text):
        return  # at once: the expressions below take a millisecond to be compiled
    if text[0] in "'\"`":
        fault = "the database URL has quotes around it. Remove them: not every reader of .env does"
    elif found := _ASSIGNMENT.match(text):
        fault = f"the database URL begins with the variable name {found[1]}=. Give the value only"
    elif re.match(r"\$|\{\{|%\(|<", text):
        fault = "the database URL is a placeholder that nobody replaced. Set the variable it names"
    elif text.lower().startswith("jdbc:"):
        fault = f"the database URL is for Java (jdbc:). {EXAMPLE}"
    elif text.startswith("embedded:"):
        fault = "an embedded database has no URL before it runs. Start it, or name a server"
    elif re.match(r"postgres(ql)?(\+\w+)?(:|/|$)(?!//)", text, re.IGNORECASE):
        fault = f"the database URL lacks :// after its scheme. {EXAMPLE}"
    elif re.search(r"[\x00-\x1f\x7f]", text) and _URL.match(text):
        fault = "the database URL has a line break or control character inside. Join it to one line"
    else:
        return
    raise ConfigurationError(f"{fault}.")


def _check_scheme(scheme: str, driver: str | None) -> None:
    if scheme not in {"postgres", "postgresql"}:
        raise ConfigurationError(
            f"automigrate is for PostgreSQL, and the database URL begins with {scheme}://. "
            f"{EXAMPLE}."
        )
    if driver is not None and driver not in _DRIVERS:
        near = _nearest(driver, _DRIVERS)
        raise ConfigurationError(
            f"the database URL names the unknown driver {scheme}+{driver}"
            f"{f' (did you mean {near}?)' if near else ''}. Leave the driver away: postgresql://."
        )


def _url_pairs(rest: str, *, plus_is_space: bool) -> Iterator[tuple[str, str]]:
    """Split what follows ``://`` by libpq's rules: the first ``@`` before a ``/`` ends the user."""
    head = rest.partition("/")[0]
    credentials, at, remainder = rest.partition("@") if "@" in head else ("", "", rest)
    before_query, _, query = remainder.partition("?")
    hosts, _, dbname = before_query.partition("/")
    if "@" in before_query or (not at and "@" in query and not _ports_are_numbers(hosts)):
        raise ConfigurationError(
            f"the database URL has an @ or / that is not percent-encoded before its host. "
            f"{_ESCAPES}."
        )
    user, _, password = credentials.partition(":")
    yield "user", _decoded(user, "user")
    yield "password", _decoded(password, "password")
    yield from _host_pairs(hosts)
    yield "dbname", _decoded(dbname, "database")
    yield from _query_pairs(query, plus_is_space=plus_is_space)


def _ports_are_numbers(hosts: str) -> bool:
    matches = [_HOST.fullmatch(item) for item in hosts.split(",")]
    return all(found is not None and (found[3] or "0").isdecimal() for found in matches)


def _host_pairs(text: str) -> Iterator[tuple[str, str]]:
    hosts, ports = [], []
    for item in text.split(","):
        found = _HOST.fullmatch(item)
        if found is None:
            raise ConfigurationError(
                "the host in the database URL cannot be read. Put an IPv6 address in brackets, "
                f"as in [::1]:5432. {_ESCAPES}."
            )
        hosts.append(_decoded(found[1] or found[2] or "", "host"))
        ports.append(_decoded(found[3] or "", "port"))
    yield "host", _joined(hosts)
    yield "port", _joined(ports)


def _query_pairs(query: str, *, plus_is_space: bool) -> Iterator[tuple[str, str]]:
    """Decode the query; hosts in SQLAlchemy's form (``host=h1:5432&host=h2``) become one list."""
    hosts = []
    for item in query.split("&") if query else ():
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigurationError(
                "the query of the database URL (after ?) has a part without =. Write it as "
                f"name=value, joined by &. {_ESCAPES}."
            )
        value = _decoded(value.replace("+", " ") if plus_is_space else value, "query")
        name = _decoded(name, "query")
        if name == "host":
            hosts.append(value)
        else:
            yield name, value
    if hosts:
        yield from host_list(hosts)


def host_list(hosts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return libpq's ``host`` and ``port`` for hosts that may each carry a port (SQLAlchemy)."""
    items = [item for host in hosts for item in host.split(",")]
    found = [_HOST_AND_PORT.fullmatch(item) for item in items]
    names = [(m[1] or "").strip("[]") if m else item for m, item in zip(found, items, strict=True)]
    yield "host", _joined(names)
    if any(found):
        yield "port", _joined([m[2] if m else "" for m in found])


def _keyword_pairs(text: str) -> Iterator[tuple[str, str]]:
    """Split a libpq keyword string: ``host=db user=app``."""
    position, previous = 0, ""
    while position < len(text):
        name = _KEYWORD.match(text, position)
        value = name and _KEYWORD_VALUE.match(text, name.end())
        bad_name = name and previous in SECRET_PARAMETERS and name[1] not in LIBPQ_PARAMETERS
        if name is None or value is None or bad_name or text[value.end() : value.end() + 1].strip():
            raise ConfigurationError(
                "the database URL is neither a URL nor a complete libpq keyword string. "
                f"{EXAMPLE}, or as host=HOST dbname=DATABASE with values that contain spaces "
                "in single quotes."
            )
        previous = name[1]
        yield previous, re.sub(r"\\(.)", r"\1", value[1] or value[2] or "", flags=re.DOTALL)
        position = value.end()
        while text[position : position + 1].isspace():
            position += 1


def _translated(
    name: str, value: str, faults: list[str], *, hidden: bool
) -> Iterator[tuple[str, str]]:
    """Turn one parameter of any driver into libpq's, or note why that cannot be done."""
    name = _ALIASES.get(name, name)
    if name in LIBPQ_PARAMETERS:
        yield name, value
    elif name == "ssl":
        words = {"true": "require", "1": "require", "on": "require"}
        words |= {"false": "disable", "0": "disable", "off": "disable"}
        yield "sslmode", words.get(value.lower(), value)
    elif name == "timeout":
        yield "connect_timeout", _whole_seconds(value, faults)
    elif name == "direct_tls":
        yield "sslnegotiation", "direct" if value.lower() in {"true", "1", "on"} else ""
    elif name == "unix_sock":
        directory, _, file = value.rpartition("/")
        yield "host", directory
        yield "port", file.removeprefix(".s.PGSQL.")
    elif name == "server_settings":
        yield from _server_settings(value, faults)
    elif name not in _DROPPED:
        faults.append(_unknown_parameter(name, hidden=hidden))


def _unknown_parameter(name: str, *, hidden: bool) -> str:
    near = _nearest(name, LIBPQ_PARAMETERS)
    if hidden and not near:
        return (
            "the database URL has a parameter that libpq does not know; its name is not shown, "
            f"because it may be a piece of the password. {_ESCAPES}."
        )
    return (
        f"the database URL has the parameter {name}, which libpq does not know"
        f"{f' (did you mean {near}?)' if near else ''}. Remove it; a server setting goes into "
        "options=-c%20NAME%3DVALUE."
    )


def _whole_seconds(value: str, faults: list[str]) -> str:
    try:
        return str(int(-(-float(value) // 1)))
    except (ValueError, OverflowError):
        faults.append("the timeout in the database URL is not a number. Write seconds: timeout=10.")
        return ""


def _server_settings(value: str, faults: list[str]) -> Iterator[tuple[str, str]]:
    """Turn asyncpg's ``server_settings`` (JSON) into libpq's ``options``."""
    import json

    try:
        settings = json.loads(value.replace("'", '"'))
        pairs = [(str(key), str(setting)) for key, setting in settings.items()]
    except (ValueError, AttributeError):
        faults.append(
            "server_settings in the database URL is not a JSON object. Write server settings as "
            "options=-c%20NAME%3DVALUE."
        )
        return
    for key, setting in pairs:
        if key == "application_name":
            yield key, setting
        else:
            yield "options", f"-c {key}=" + re.sub(r"([\\\s])", r"\\\1", setting)


def _unusable(found: Mapping[str, str]) -> Iterator[str]:
    if any("\0" in value for value in found.values()):
        yield "the database URL contains a zero byte (%00). Remove it."
    ports = found.get("port", "").split(",")
    if not all(port == "" or (port.isdecimal() and 0 < int(port) <= _LAST_PORT) for port in ports):
        yield (
            "the port in the database URL is not a number from 1 to 65535. If what stands there "
            f"belongs to the password: {_ESCAPES}."
        )
    hosts = (found.get("host") or found.get("hostaddr") or "").split(",")
    if 1 < len(ports) != len(hosts):
        yield (
            f"the database URL has {len(hosts)} hosts and {len(ports)} ports. Give one port for "
            "all, or one each."
        )
    if found.get("sslmode", SSL_MODES[0]) not in SSL_MODES:
        yield f"sslmode (or ssl) in the database URL is none of {', '.join(SSL_MODES)}. Use one."


def _nearest(word: str, known: Iterable[str]) -> str | None:
    import difflib  # 14 ms, for an error text only

    return next(iter(difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.7)), None)


def _joined(items: list[str]) -> str:
    return ",".join(items) if any(items) else ""


def _decoded(text: str, part: str) -> str:
    """Decode percent signs; unlike `urllib.parse.unquote`, refuse what is not encoded."""
    if "%" not in text:
        return text
    try:
        first, *rest = text.encode().split(b"%")
        if any(not re.match(rb"[0-9A-Fa-f]{2}", piece) for piece in rest):
            raise ValueError  # noqa: TRY301 (one fault, one text)
        return (first + b"".join(bytes.fromhex(p[:2].decode()) + p[2:] for p in rest)).decode()
    except ValueError:
        raise ConfigurationError(
            f"the {part} in the database URL has a % that encodes no character. Write a percent "
            f"sign itself as %25. {_ESCAPES}."
        ) from None
