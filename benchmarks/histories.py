"""The same history of migrations in the form of each tool.

Revision number `n` creates a table with an identity column, and an index on it: two statements, in
a transaction, as plain SQL for every tool, so that the tools are compared and not the DDL.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import alembic
import flask_migrate

__all__ = ["statements", "write"]

TABLE = (
    "create table t{n} (id bigint generated always as identity primary key, "
    "name text not null, created_at timestamptz not null default now())"
)
INDEX = "create index on t{n} (name)"

ALEMBIC = '''\
"""Create t{n}.

Revision ID: {revision}
Revises: {down}
Create Date: 2026-01-01 00:00:00.000000

"""
from typing import Sequence, Union

from alembic import op

revision: str = {revision!r}
down_revision: Union[str, Sequence[str], None] = {down!r}
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    op.execute("{table}")
    op.execute("{index}")


def downgrade() -> None:
    op.execute("drop table t{n}")
'''

DJANGO = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [
        migrations.RunSQL("{table}", "drop table t{n}"),
        migrations.RunSQL("{index}", migrations.RunSQL.noop),
    ]
"""

DJANGO_SETTINGS = """\
import os

SECRET_KEY = "none"
INSTALLED_APPS = ["shop"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["BENCH_DATABASE"],
        "USER": os.environ["BENCH_USER"],
        "PASSWORD": os.environ.get("BENCH_PASSWORD", ""),
        "HOST": os.environ["BENCH_HOST"],
        "PORT": os.environ["BENCH_PORT"],
    }
}
"""

FLASK_APP = """\
import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["BENCH_SQLALCHEMY_URL"]
database = SQLAlchemy(app)
Migrate(app, database)
"""


def revision_of(n: int) -> str:
    """Return an id like those that Alembic makes."""
    return f"{n:04d}c0ffee{n % 97:02d}"


def statements(n: int) -> tuple[str, str]:
    """Return the SQL of one revision."""
    return TABLE.format(n=n), INDEX.format(n=n)


def write(kind: str, count: int, root: Path) -> Path:
    """Write the history of one kind, once; returns its directory.

    Args:
        kind: ``alembic``, ``flask``, ``django``, ``yoyo``, ``dbmate`` or ``psql``.
        count: number of revisions.
        root: where the histories of this run are.
    """
    directory = root / f"{kind}-{count}"
    if not directory.exists():
        directory.mkdir(parents=True)
        _WRITERS[kind](directory, count)
    return directory


def _alembic(directory: Path, count: int) -> None:
    templates = Path(alembic.__file__).parent / "templates" / "generic"
    scripts = directory / "migrations"
    _versions(scripts / "versions", count)
    shutil.copy(templates / "env.py", scripts)
    shutil.copy(templates / "script.py.mako", scripts)
    (directory / "alembic.ini").write_text(
        "[alembic]\nscript_location = %(here)s/migrations\nprepend_sys_path = .\n"
        "path_separator = os\nsqlalchemy.url = none\n\n" + _LOGGING
    )


def _flask(directory: Path, count: int) -> None:
    template = Path(flask_migrate.__file__).parent / "templates" / "flask"
    scripts = directory / "migrations"
    _versions(scripts / "versions", count)
    shutil.copy(template / "env.py", scripts)
    shutil.copy(template / "script.py.mako", scripts)
    shutil.copy(template / "alembic.ini.mako", scripts / "alembic.ini")
    (directory / "app.py").write_text(FLASK_APP)


def _versions(versions: Path, count: int) -> None:
    versions.mkdir(parents=True)
    for n in range(count):
        table, index = statements(n)
        (versions / f"{revision_of(n)}_create_t{n}.py").write_text(
            ALEMBIC.format(
                n=n,
                revision=revision_of(n),
                down=revision_of(n - 1) if n else None,
                table=table,
                index=index,
            )
        )


def _django(directory: Path, count: int) -> None:
    migrations = directory / "shop" / "migrations"
    migrations.mkdir(parents=True)
    (directory / "settings.py").write_text(DJANGO_SETTINGS)
    for package in (directory / "shop", migrations):
        (package / "__init__.py").touch()
    for n in range(count):
        table, index = statements(n)
        before = [("shop", f"{n - 1:04d}_t{n - 1}")] if n else []
        (migrations / f"{n:04d}_t{n}.py").write_text(
            DJANGO.format(n=n, dependencies=before, table=table, index=index)
        )


def _yoyo(directory: Path, count: int) -> None:
    for n in range(count):
        table, index = statements(n)
        before = f"-- depends: {n - 1:04d}.t{n - 1}\n" if n else ""
        (directory / f"{n:04d}.t{n}.sql").write_text(f"{before}{table};\n{index};\n")


def _dbmate(directory: Path, count: int) -> None:
    for n in range(count):
        table, index = statements(n)
        (directory / f"{20260101000000 + n}_t{n}.sql").write_text(
            f"-- migrate:up\n{table};\n{index};\n\n-- migrate:down\ndrop table t{n};\n"
        )


def _psql(directory: Path, count: int) -> None:
    (directory / "0.sql").write_text("create table schema_migrations (version text primary key);\n")
    for n in range(count):
        table, index = statements(n)
        (directory / f"1{n:04d}.sql").write_text(
            f"begin;\n{table};\n{index};\n"
            f"insert into schema_migrations values ('{revision_of(n)}');\ncommit;\n"
        )


_LOGGING = """\
[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = generic

[logger_root]
level = WARNING
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = generic

[formatter_generic]
format = %(message)s
"""

_WRITERS = {
    "alembic": _alembic,
    "flask": _flask,
    "django": _django,
    "yoyo": _yoyo,
    "dbmate": _dbmate,
    "psql": _psql,
}
