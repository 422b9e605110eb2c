"""The signature binds recorded SQL to the revision that it undoes."""

from __future__ import annotations

from typing import Any

import pytest

from automigrate.database import signature

ROW: dict[str, Any] = {
    "revision": "r2",
    "down_revisions": ("r1",),
    "checksum": "c",
    "sql": "drop table t;",
}


def test_the_right_signature_is_accepted() -> None:
    """What was signed with the key is accepted with the key."""
    assert signature.signed(b"key", signature.sign(b"key", **ROW), **ROW)


@pytest.mark.parametrize(
    "changed",
    [
        {"revision": "r3"},
        {"down_revisions": ("r0",)},
        {"down_revisions": ("r1", "r0")},
        {"checksum": "d"},
        {"checksum": None},
        {"sql": "drop table u;"},
    ],
)
def test_every_part_is_bound(changed: dict[str, Any]) -> None:
    """SQL of one revision cannot be put into the row of another."""
    assert not signature.signed(b"key", signature.sign(b"key", **{**ROW, **changed}), **ROW)


def test_another_key_and_no_signature_are_refused() -> None:
    """Only the holder of the key can sign."""
    assert not signature.signed(b"key", signature.sign(b"other", **ROW), **ROW)
    assert not signature.signed(b"key", None, **ROW)


def test_the_signature_is_pinned() -> None:
    """A newer release of automigrate must verify what an older one has signed."""
    assert signature.sign(b"key", **ROW) == PINNED


def test_an_empty_variable_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset and an empty variable mean the same."""
    monkeypatch.delenv(signature.KEY_VARIABLE, raising=False)
    assert signature.key() is None
    monkeypatch.setenv(signature.KEY_VARIABLE, "")
    assert signature.key() is None
    monkeypatch.setenv(signature.KEY_VARIABLE, "k")
    assert signature.key() == b"k"


PINNED = "5513fd8326686be3aa2b78c4351be03b7b90c28e4ac7ae12ba4f29782ed0fe87"
