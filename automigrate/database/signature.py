"""Bind a revision's recorded downgrade to what it undoes, with a key that the database has not.

Who can write to the journal could otherwise have an older release execute any SQL. The key comes
from the environment, so that it is neither in the code nor in the database.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KEY_VARIABLE", "key", "sign", "signed"]

KEY_VARIABLE = "AUTOMIGRATE_JOURNAL_KEY"


def key() -> bytes | None:
    """Return the key from the environment; `None`: nothing is signed and nothing is asked for."""
    text = os.environ.get(KEY_VARIABLE, "")
    return text.encode() if text else None


def sign(
    secret: bytes, *, revision: str, down_revisions: Sequence[str], checksum: str | None, sql: str
) -> str:
    """Return the HMAC-SHA256, in hexadecimal, of a downgrade and of what it belongs to."""
    signed_values = ["automigrate downgrade 1", revision, list(down_revisions), checksum, sql]
    content = json.dumps(signed_values, ensure_ascii=True, separators=(",", ":"))
    return hmac.new(secret, content.encode(), hashlib.sha256).hexdigest()


def signed(
    secret: bytes,
    signature: str | None,
    *,
    revision: str,
    down_revisions: Sequence[str],
    checksum: str | None,
    sql: str,
) -> bool:
    """Whether a signature is that of the key, compared in constant time."""
    expected = sign(
        secret, revision=revision, down_revisions=down_revisions, checksum=checksum, sql=sql
    )
    return signature is not None and hmac.compare_digest(signature, expected)
