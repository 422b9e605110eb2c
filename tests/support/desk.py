"""A developer's working directory, and the command line in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.servers import Database

__all__ = ["ROOT", "Desk"]

ROOT = Path(__file__).parents[2]
MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    {columns}
"""


class Desk:
    """A developer's working directory and database."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self.database = database

    def models(self, columns: str) -> None:
        """Write the application's models."""
        (self.directory / "shop.py").write_text(MODELS.format(columns=columns))

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables for a command: nothing of ours from outside, no colours."""
        foreign = ("AUTOMIGRATE_", "DATABASE_URL", "PG", "CI")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "AUTOMIGRATE_DATABASE_URL": self.database.url,
            "AUTOMIGRATE_SCRATCH": "server",
            "AUTOMIGRATE_LOG_LEVEL": "error",
            **more,
        }

    def run(self, *arguments: str, code: int = 0, **more: str) -> str:
        """Run `automigrate`; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "automigrate", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            timeout=100.0,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def git(self, *arguments: str, code: int | None = 0) -> str:
        """Run git."""
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr
