"""Read the plain form of `automigrate upgrade` without click, which costs as much as the look.

Only `--option value` and `--option=value` with known long options are read here. Everything else
is left to click: help, abbreviations, mistakes, other commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.cli.catalogue import SETTINGS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automigrate.cli.catalogue import Setting
    from automigrate.cli.settings import Flags

__all__ = ["read"]

COMMAND = "upgrade"
_BY_FLAG = {flag: s for s in SETTINGS for flag in (s.flag, s.short) if flag}


def read(arguments: Sequence[str]) -> Flags | None:
    """Return the flags of a plain `upgrade`; `None`: click has to read it."""
    if not arguments or arguments[0] != COMMAND:
        return None
    flags: Flags = {}
    for setting, value in _pairs(arguments[1:]):
        if setting is None or value is None:
            return None
        if setting.kind is Kind.REPEATED:
            flags[setting.name] = (*flags.get(setting.name, ()), value)
        elif setting.name in flags:
            return None
        else:
            flags[setting.name] = value
    return flags


def _pairs(tokens: Sequence[str]) -> Iterator[tuple[Setting | None, str | None]]:
    remaining = iter(tokens)
    for token in remaining:
        flag, equals, value = token.partition("=")
        if equals and not flag.startswith("--"):  # `-xa=b` is for click
            yield None, None
        elif equals:
            yield _BY_FLAG.get(flag), value
        else:
            following = next(remaining, None)
            unusual = following is None or following.startswith("-")
            yield _BY_FLAG.get(flag), None if unusual else following
