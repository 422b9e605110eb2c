"""The operating system account that an embedded server runs under, and what it can reach."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import stat
import sys
from typing import TYPE_CHECKING, Any

from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Account"]

_UNPRIVILEGED = ("nobody", "daemon")
_READ, _ENTER = 4, 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of this machine."""

    name: str
    uid: int
    gid: int
    switch: bool
    """Whether it is another account than that of this process."""

    @classmethod
    def choose(cls) -> Account:
        """Return our own account, or as root an existing one without privileges.

        Raises:
            ConfigurationError: the platform is not supported, or there is no such account.
        """
        if sys.platform not in ("linux", "darwin"):
            raise ConfigurationError(
                f"embedded PostgreSQL runs on Linux and macOS, not on {sys.platform}: "
                "give the URL of a PostgreSQL server instead."
            )
        if os.geteuid() != 0:
            return cls(name="", uid=os.geteuid(), gid=os.getegid(), switch=False)
        for name in _UNPRIVILEGED:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(name=name, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
        raise ConfigurationError(
            "PostgreSQL refuses to run as root, and there is no account `nobody` to run it under: "
            "start this program as another user."
        )

    def obstacle(self, path: Path) -> Path | None:
        """Return the first part of `path` that the account cannot enter or read, if any.

        Access control lists are not looked at: they may only grant more.
        """
        if not self.switch:
            return None
        path = path.resolve()
        for part in reversed(path.parents):
            if not self._permissions(part) & _ENTER:
                return part
        readable = self._permissions(path) & (_ENTER | _READ) == _ENTER | _READ
        return None if readable else path

    def _permissions(self, path: Path) -> int:
        found = path.stat()
        if found.st_uid == self.uid:
            return found.st_mode >> 6 & 7
        if found.st_gid == self.gid:
            return found.st_mode >> 3 & 7
        return stat.S_IMODE(found.st_mode) & 7

    def own(self, path: Path | int) -> None:
        """Give a file or directory, which we have just made, to the account."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def make_directory(self, path: Path) -> None:
        """Make a directory that is the account's alone; one that exists is left as it is."""
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)
            self.own(path)

    def popen_options(self) -> dict[str, Any]:
        """Return what makes `subprocess.Popen` run a program under the account."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}
