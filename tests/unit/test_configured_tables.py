"""What the text of env.py says about the version table, and when only running it tells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from automigrate.scripts.env_py import ConfiguredTables, configured_tables
from automigrate.scripts.stamp import SETTLED

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = ConfiguredTables(literal=False)
LOOPS = ConfiguredTables(literal=False, loops=True)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("context.configure(connection=c)", ConfiguredTables()),
        ("context.configure(version_table='v')", ConfiguredTables("v")),
        ("T = 'v'\ncontext.configure(version_table=T)", ConfiguredTables("v")),
        (
            "S: str = 's'\ncontext.configure(version_table_schema=S, version_table='v')",
            ConfiguredTables("v", "s"),
        ),
        (
            "context.configure(version_table_schema='s')\nc.execute('set search_path to s')",
            ConfiguredTables(None, "s"),
        ),
        ("context.configure(version_table=os.environ['T'])", UNKNOWN),
        ("context.configure(**options, version_table='v')", ConfiguredTables("v", literal=False)),
        ("c.execute('set search_path to s')\ncontext.configure(connection=c)", UNKNOWN),
        ("c.execution_options(schema_translate_map=m)\ncontext.configure()", UNKNOWN),
        ("c.dialect.default_schema_name = tenant\ncontext.configure()", UNKNOWN),
        ("from app.migrations import run\nrun()", UNKNOWN),
        (
            "context.configure(version_table='a')\ncontext.configure(version_table='b')",
            UNKNOWN,
        ),
        (
            "context.configure(url=u, version_table='v')\ncontext.configure(version_table='v')",
            ConfiguredTables("v"),
        ),
        ("context.configure(version_table='v'", UNKNOWN),
    ],
)
def test_tables_are_read_from_the_text(
    tmp_path: Path, source: str, found: ConfiguredTables
) -> None:
    """Literals and constants are understood; whatever else decides makes it not literal."""
    env_file = tmp_path / "env.py"
    env_file.write_text(source)
    assert configured_tables(env_file) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("for s in tenants:\n  context.configure(version_table_schema='s')", LOOPS),
        ("def run(s):\n  context.configure()\nfor s in tenants:\n  run(s)", LOOPS),
        (
            """
def do(c):
    context.configure()
async def one(s):
    await c.run_sync(do)
async def every():
    await asyncio.gather(*(one(s) for s in tenants))""",
            LOOPS,
        ),
        ("def run(s):\n  context.configure()\nlist(pool.map(run, tenants))", LOOPS),
        (
            "def run():\n  context.configure()\nfor attempt in range(3):\n  run()",
            ConfiguredTables(),
        ),
        (
            """
for name, rec in engines.items():
    context.configure(connection=rec['connection'], upgrade_token=f'{name}_upgrades')""",
            ConfiguredTables(),
        ),
        ("# for tenants in all\ncontext.configure()", ConfiguredTables()),
        ("for s in tenants:\n  create(s)\ncontext.configure()", ConfiguredTables()),
    ],
)
def test_a_loop_is_no_literal(tmp_path: Path, source: str, found: ConfiguredTables) -> None:
    """Where `configure` is reached once for each of many, only running env.py tells which."""
    env_file = tmp_path / "env.py"
    env_file.write_text(source)
    assert configured_tables(env_file) == found


def test_it_is_read_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only then, within a process."""
    env_file = tmp_path / "env.py"
    env_file.write_text("context.configure(version_table='one')")
    now = time.time
    monkeypatch.setattr("automigrate.scripts.stamp.time.time", lambda: now() + SETTLED + 1.0)
    assert configured_tables(env_file).version_table == "one"
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.read_bytes", lambda _: pytest.fail("it was read again"))
        assert configured_tables(env_file).version_table == "one"
    env_file.write_text("context.configure(version_table='other')")
    assert configured_tables(env_file).version_table == "other"
