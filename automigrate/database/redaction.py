"""Keep secrets out of the texts of others: driver errors, statements, tracebacks."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_STARS = "***"
_SHORTEST = 3  # a shorter secret is in every other word
_NAME = r"(?:\w*password|\w*passwd|\bpwd|oauth_client_secret|scram_(?:client|server)_key)"
_QUOTED = r"'(?:\\.|''|[^'\\])*'?" + r'|"(?:\\.|[^"\\])*"?'
# Each pattern keeps its first group, and its second where there is one.
_PATTERNS = (
    # scheme://user:SECRET@ up to the last @, since an unescaped one may be in the password;
    # but not host:5432/path with an @ further on.
    r"([a-z][a-z0-9+.-]*://[^\s:/@]*:)(?!\d{1,5}(?:[/?,\s]|$))\S*(@)",
    # ?password=SECRET& in a URL
    rf"([?&]{_NAME}=)[^&\s'\"]*",
    # password=SECRET, password = 'SECRET', 'password': 'SECRET', PGPASSWORD=SECRET
    rf"((?<![?&]){_NAME}['\"]?\s*[=:]\s*)(?:{_QUOTED}|(?:\\.|[^\s\\])+)",
    # alter role app password 'SECRET'
    r"(\bpassword\s+E?)(?:'(?:\\.|''|[^'\\])*'?)",
    # What libpq, SQLAlchemy and Python say about a URL that they split in the wrong place.
    r'(missing "=" after ")[^"]*(")',
    r'(invalid integer value ")[^"]*(" for connection option)',
    r'(percent-encoded (?:token|value): ")[^"]*(")',
    r'(host name "|host ")[^"]*(@)',
    r"(SQLAlchemy URL from (?:given URL )?string )(?:'[^']*'|\S+)",
    r"(invalid literal for int\(\) with base 10: )(?:'[^']*'|\S+)",
)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without passwords: the given ones, and what stands where passwords stand.

    Use it on every text of others before it is logged, stored or raised. It rather removes too
    much than too little. A secret of less than three characters is removed only where a password
    stands, since it may be in any word; one of up to eight lower-case letters (``postgres``) only
    as a whole word.

    Args:
        text: a driver's message, a statement, a traceback.
        secrets: as in `DatabaseURL.secrets`; also found percent-encoded or escaped by quoting.
    """
    for pattern in _compiled():
        text = pattern.sub(_kept, text)
    forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        if re.fullmatch(r"[a-z]{3,8}", form):
            text = re.sub(rf"(?<![A-Za-z0-9_]){form}(?![A-Za-z0-9_])", _STARS, text)
        elif form != _STARS:
            text = re.sub(re.escape(form), _STARS, text, flags=_flags(form))
    return text


@cache
def _compiled() -> tuple[re.Pattern[str], ...]:
    """Compile the patterns when the first text comes: most processes have none."""
    return tuple(re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in _PATTERNS)


def _kept(found: re.Match[str]) -> str:
    return found[1] + _STARS + (found[2] if found.re.groups > 1 else "")


def _flags(form: str) -> re.RegexFlag:
    """Ignore the case of percent-encoded forms, because %2f and %2F are the same."""
    return re.IGNORECASE if "%" in form else re.NOFLAG


def _forms(secret: str) -> Iterator[str]:
    yield secret
    for keep in ("", "/", " +", " +/", "!$&'()*+,;=:@/"):
        yield encoded(secret, keep)
    yield encoded(secret, " ").replace(" ", "+")
    yield repr(secret)[1:-1]
    yield secret.replace("\\", "\\\\").replace("'", "\\'")
    yield secret.replace("'", "''")
    yield secret.replace("%", "%%")


def encoded(text: str, keep: str = "") -> str:
    """Percent-encode everything but RFC 3986's unreserved characters and those to keep."""
    return "".join(
        chr(byte) if byte in _UNRESERVED or chr(byte) in keep else f"%{byte:02X}"
        for byte in text.encode()
    )
