"""Alembic projects, written the way `alembic init` and `alembic revision` write them."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import alembic
from alembic.util import template_to_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PREVIOUS", "Project", "sqlalchemy_url"]

PREVIOUS = "the revision added before"
"""Default of `Project.add(down=…)`."""

_TEMPLATES = Path(alembic.__file__).parent / "templates"
_STOCK = ("async", "generic", "multidb", "pyproject", "pyproject_async")
_URL_LINE = re.compile(r"^sqlalchemy\.url = .*$", re.MULTILINE)
_SCRIPT = '''\
"""{message}

Revision ID: {revision}
Revises: {revises}
Create Date: 2026-01-01 00:00:00.000000

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa
{imports}

# revision identifiers, used by Alembic.
revision: str = {revision!r}
down_revision: Union[str, Sequence[str], None] = {down!r}
branch_labels: Union[str, Sequence[str], None] = {branch_labels!r}
depends_on: Union[str, Sequence[str], None] = {depends_on!r}
{extra_module_code}

def upgrade({parameters}) -> None:
    """Upgrade schema."""
{upgrade}


def downgrade({parameters}) -> None:
    """Downgrade schema."""
{downgrade}
'''


class Project:
    """An Alembic project in a directory: ``alembic.ini``, ``migrations/versions/``.

    Attributes:
        directory: the project, where ``alembic.ini`` is.
        scripts: the script directory, ``migrations``.
        versions: the directory of the revisions.
        ini: path of ``alembic.ini``.
        revisions: the revisions added, in order, with their files.
    """

    def __init__(self, directory: Path, *, env: str | None = "generic") -> None:
        """Write an empty project; `env` as in `write_env`, `None` for none at all."""
        self.directory = directory
        self.scripts = directory / "migrations"
        self.versions = self.scripts / "versions"
        self.ini = directory / "alembic.ini"
        self.revisions: dict[str, Path] = {}
        self._several_databases = False
        self.versions.mkdir(parents=True, exist_ok=True)
        if env is not None:
            self.write_env(env)

    @classmethod
    def linear(
        cls, directory: Path, count: int, *, first: int = 1, env: str | None = "generic"
    ) -> Project:
        """Write a project of `count` revisions in a line, ``r0001`` the first.

        Each creates a table ``t_r0001``, so that applying one twice fails.
        """
        project = cls(directory, env=env)
        project.extend(count, first=first)
        return project

    def extend(self, count: int, *, first: int | None = None) -> list[str]:
        """Add `count` revisions that create a table each; return their names."""
        start = len(self.revisions) + 1 if first is None else first
        added = [f"r{number:04d}" for number in range(start, start + count)]
        for revision in added:
            self.add(
                revision,
                upgrade=f'op.execute("create table t_{revision} (id integer primary key)")',
                downgrade=f'op.execute("drop table t_{revision}")',
            )
        return added

    def add(
        self,
        revision: str,
        *,
        down: str | Sequence[str] | None = PREVIOUS,
        upgrade: str = "pass",
        downgrade: str = "pass",
        depends_on: str | Sequence[str] | None = None,
        branch_labels: str | Sequence[str] | None = None,
        imports: str = "",
        extra_module_code: str = "",
        message: str | None = None,
    ) -> Path:
        """Write a revision's script and return its path.

        Args:
            revision: its identifier.
            down: what it is built on; by default the revision added before, `None` for a base.
            upgrade: body of ``upgrade()``, Python code at any indentation.
            downgrade: body of ``downgrade()``.
            depends_on: as in Alembic.
            branch_labels: as in Alembic.
            imports: lines after the imports of the template.
            extra_module_code: lines between the identifiers and ``upgrade()``.
            message: first line of the docstring and part of the file's name.
        """
        if down == PREVIOUS:
            down = next(reversed(self.revisions), None)
        title = message or f"revision {revision}"
        slug = re.sub(r"\W+", "_", title).lower()
        path = self.versions / f"{revision}_{slug}.py"
        path.write_text(
            _SCRIPT.format(
                message=title,
                revision=revision,
                parameters="engine_name: str" if self._several_databases else "",
                revises=down if isinstance(down, str) else ", ".join(down or ()),
                down=_literal(down),
                depends_on=_literal(depends_on),
                branch_labels=_literal(branch_labels),
                imports=textwrap.dedent(imports).strip("\n"),
                extra_module_code=textwrap.dedent(extra_module_code).strip("\n"),
                upgrade=_body(upgrade),
                downgrade=_body(downgrade),
            )
        )
        self.revisions[revision] = path
        return path

    def remove(self, revision: str) -> None:
        """Delete a revision's script, as an older release of the code would not have it."""
        self.revisions.pop(revision).unlink()

    def copy(self, directory: Path, *, without: Sequence[str] = ()) -> Project:
        """Copy the project, such as for an older release; `without` names its later revisions."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        copied = Project(directory, env=None)
        copied._several_databases = self._several_databases
        for revision, path in self.revisions.items():
            copied.revisions[revision] = copied.versions / path.name
        for revision in without:
            copied.remove(revision)
        return copied

    def write_env(self, env: str, *, url: str = "driver://user:pass@localhost/dbname") -> None:
        """Write ``env.py`` and ``alembic.ini``.

        Args:
            env: a template of `alembic init` (``generic``, ``async``, ``pyproject``,
                ``multidb``), or the text of an ``env.py``. Choose ``multidb`` before adding
                revisions: its ``upgrade`` takes the name of an engine.
            url: what ``alembic.ini`` says about the database, see `set_url`.
        """
        self._several_databases = env == "multidb"
        template = _TEMPLATES / (env if env in _STOCK else "generic")
        for stale in (self.ini, self.directory / "pyproject.toml"):
            stale.unlink(missing_ok=True)
        for source in template.glob("*.mako"):
            if source.name != "script.py.mako":
                template_to_file(
                    str(source),
                    str(self.directory / source.stem),
                    "utf-8",
                    script_location="%(here)s/migrations",
                )
        shutil.copy(template / "script.py.mako", self.scripts)
        (self.scripts / "env.py").write_text(
            (template / "env.py").read_text() if env in _STOCK else textwrap.dedent(env)
        )
        self.set_url(url)

    def set_url(self, *urls: str) -> None:
        """Put a database URL into ``alembic.ini``; with ``multidb`` one for each database."""
        lines = itertools.cycle(
            f"sqlalchemy.url = {sqlalchemy_url(url).replace('%', '%%')}" for url in urls
        )
        self.ini.write_text(_URL_LINE.sub(lambda _: next(lines), self.ini.read_text()))

    def alembic(
        self,
        *arguments: str,
        url: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run plain Alembic in the project, as a process of its own.

        Args:
            arguments: such as ``"upgrade", "head"``.
            url: the database, written into ``alembic.ini`` first.
            check: whether a failure fails the test, with Alembic's own words.
            environment: variables to add.
        """
        if url is not None:
            self.set_url(url)
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=self.directory,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"alembic {arguments}: {done.stderr}"
        return done


def sqlalchemy_url(url: str) -> str:
    """Name the driver in a URL of libpq; psycopg serves engines of both kinds."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def _literal(names: str | Sequence[str] | None) -> str | tuple[str, ...] | None:
    return names if names is None or isinstance(names, str) else tuple(names)


def _body(code: str) -> str:
    return textwrap.indent(textwrap.dedent(code).strip("\n") or "pass", "    ")
