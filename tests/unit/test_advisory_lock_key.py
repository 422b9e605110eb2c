"""The key of the lock is a contract with other tools and other versions."""

from __future__ import annotations

import hashlib

from automigrate.database.advisory_lock import lock_key


def test_the_key_is_pinned() -> None:
    """A changed key would let two versions of automigrate run at the same time."""
    assert lock_key("public", "alembic_version") == -1_133_089_740_474_931_019
    assert lock_key("tenant", "alembic_version") == 6_906_070_303_809_859_842


def test_the_key_is_the_beginning_of_a_digest() -> None:
    """The first 8 bytes, big-endian and signed, of SHA-256 over three names and NUL bytes."""
    digest = hashlib.sha256(b"automigrate\0public\0alembic_version").digest()
    assert lock_key("public", "alembic_version").to_bytes(8, "big", signed=True) == digest[:8]


def test_names_cannot_run_into_each_other() -> None:
    """Schema and table are told apart, and non-ASCII names are allowed."""
    assert lock_key("a", "bc") != lock_key("ab", "c")
    assert -(2**63) <= lock_key("schéma", "versão") < 2**63
