"""What is measured, each scenario a function that returns its table."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import histories, replicas
from benchmarks.databases import Databases
from benchmarks.timing import Subject, Table, cell, duration, measure, ratio
from benchmarks.tools import EVERY, FLOOR, PSQL, TOOLS, Tool, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from automigrate.database.url import DatabaseURL

__all__ = ["SCENARIOS", "Setup"]


FIRST = "automigrate, first call"


@dataclass(slots=True, kw_only=True)
class Setup:
    """Where and how much."""

    databases: Databases
    given_url: str | None
    """Of a given server; `None`: they are on servers of our own."""
    root: Path
    sizes: Sequence[int]
    large: int
    """The largest history, for starts with nothing to do."""
    rounds: int
    replicas: int
    tools: Sequence[Tool]

    def history(self, count: int, *, locked: bool) -> Path:
        """Return the directory of our own history."""
        return TOOLS[0 if locked else 1].history(count, self.root)


def cold(setup: Setup) -> Table:
    """A process that finds nothing to do."""
    table = Table(
        key="cold",
        title="A process that finds nothing to do",
        note="From its start to its end; compared with a process that imports psycopg, connects, "
        "selects and closes.",
        head=("", *(f"{size} revisions" for size in setup.sizes)),
    )
    columns: list[dict[str, str]] = []
    for size in setup.sizes:
        empty = setup.databases.new()
        floor = Subject(FLOOR.name, partial(FLOOR.seconds, setup.root, empty))
        subjects = [floor]
        for tool in setup.tools:
            directory, url = tool.history(size, setup.root), setup.databases.new()
            if tool.seconds(directory, url) is not None:
                subjects.append(Subject(tool.name, partial(tool.seconds, directory, url)))
        measure(subjects, setup.rounds)
        columns.append(_column(table, subjects, floor, str(size)))
    return _filled(table, [FLOOR.name, *(tool.name for tool in setup.tools)], columns)


def inside(setup: Setup) -> Table:
    """A call in a process that runs already, with nothing to do."""
    table = Table(
        key="inside",
        title="A call that finds nothing to do, in a process that runs already",
        note="`automigrate.upgrade` and `alembic.command.upgrade`, everything imported; compared "
        "with psycopg: connect, select, close. Later calls of a process remember what they read as "
        "long as the files are the same; the row `first call` is each time a new process.",
        head=("", *(f"{size} revisions" for size in (*setup.sizes, setup.large))),
    )
    empty = setup.databases.new()
    subjects = []
    for size in (*setup.sizes, setup.large):
        for name, locked in (("automigrate", True), ("automigrate, no lock file", False)):
            directory, url = setup.history(size, locked=locked), setup.databases.new()
            _pretend_applied(setup, url, size)
            scripts = str(directory / "migrations")
            conninfo = url.conninfo()
            subjects.append((f"{name}|{size}", "automigrate", conninfo, scripts))
            if not locked and size <= max(setup.sizes):
                subjects.append((f"alembic|{size}", "alembic", conninfo, scripts))
    seconds = _inside(empty, "look", setup.rounds * 6, empty.conninfo(), subjects)
    floor = Subject("floor", lambda: None, seconds["floor"])
    firsts = {
        name: [_inside(empty, "first", conninfo, scripts) for _ in range(max(5, setup.rounds))]
        for name, _, conninfo, scripts in subjects
        if name.startswith("automigrate|")
    }
    columns = []
    for size in (*setup.sizes, setup.large):
        pairs = firsts[f"automigrate|{size}"]
        alone = Subject(FIRST, lambda: None, [pair["first"] for pair in pairs])
        least = Subject("floor", lambda: None, [pair["floor"] for pair in pairs])
        found = [floor] if size == setup.sizes[0] else []
        found += [
            Subject(name, lambda: None, seconds[f"{name}|{size}"])
            for name in ("automigrate", "automigrate, no lock file", "alembic")
            if f"{name}|{size}" in seconds
        ]
        own = _column(table, [alone], least, str(size))
        columns.append(own | _column(table, found, floor, str(size)))
    names = ["floor", "automigrate", FIRST, "automigrate, no lock file", "alembic"]
    return _filled(table, names, columns)


def pending(setup: Setup) -> Table:
    """Three revisions pending."""
    sizes = (10, 1000)
    table = Table(
        key="pending",
        title="A call with three revisions pending",
        note="Everything imported, no compiled scripts (as on a read-only image); compared with "
        "Alembic on the longer history.",
        head=("", *(f"3 of {size}" for size in sizes)),
    )
    subjects: list[Subject] = []
    for size in sizes:
        before = histories.write("alembic", size, setup.root)
        template = setup.databases.new()
        _pretend_applied(setup, template, size, missing=3)
        for kind, locked in (("automigrate", True), ("alembic", False)):
            directory = setup.history(size, locked=locked)
            run = partial(_pending_once, setup, kind, directory, template)
            subjects.append(Subject(f"{kind}|{size}", run))
        del before
    measure(subjects, setup.rounds, warm=False)
    floor = next(subject for subject in subjects if subject.name == f"alembic|{sizes[-1]}")
    columns = []
    for size in sizes:
        found = [
            Subject(subject.name.partition("|")[0], subject.run, subject.seconds)
            for subject in subjects
            if subject.name.endswith(f"|{size}")
        ]
        columns.append(_column(table, found, floor, str(size)))
    return _filled(table, ["automigrate", "alembic"], columns)


def apply(setup: Setup) -> Table:
    """A whole history on an empty database."""
    sizes = [size for size in setup.sizes if size >= 100] or list(setup.sizes)[-1:]
    table = Table(
        key="apply",
        title="A whole history on an empty database",
        note="A process from its start to its end; two statements a revision; compared with one "
        "psql session. The row `in process` leaves out the start of Python and its imports.",
        head=("", *(f"{size} revisions" for size in sizes)),
    )
    tools = [PSQL, *setup.tools, EVERY]
    columns = []
    for size in sizes:
        rounds = max(2, setup.rounds * 100 // max(size, 100))
        subjects = [
            Subject(tool.name, partial(_apply_once, setup, tool, tool.history(size, setup.root)))
            for tool in tools
        ]
        scripts = setup.history(size, locked=True)
        subjects.append(Subject("automigrate, in process", partial(_apply_inside, setup, scripts)))
        measure(subjects, rounds, warm=False)
        columns.append(_column(table, subjects, subjects[0], str(size)))
    names = [*(tool.name for tool in tools), "automigrate, in process"]
    return _filled(table, names, columns)


def race(setup: Setup) -> Table:
    """Eight processes at once on an empty database."""
    size, count = 100, 8
    table = Table(
        key="race",
        title=f"{count} processes at once on an empty database, {size} revisions",
        note="Compared with one process of the same tool.",
        head=("", "exit 0", "until the last is done"),
    )
    for tool in setup.tools:
        directory = tool.history(size, setup.root)
        good, together, alone = [], [], []
        for _ in range(max(1, setup.rounds // 3)):
            taken = _apply_once(setup, tool, directory)
            url = setup.databases.new()
            begin = time.perf_counter()
            running = [tool.start(directory, url) for _ in range(count)]
            for process in running:
                process.communicate()
            together.append(time.perf_counter() - begin)
            good.append(sum(process.returncode == 0 for process in running))
            alone.append(taken or together[-1])
        compared = statistics.median(a / b for a, b in zip(together, alone, strict=True))
        shown = f"**{compared:.2f} ×** {duration(statistics.median(together))}"
        table.rows.append((tool.name, f"{min(good)} of {count}", shown))
        if min(good) == count:
            table.points.setdefault(tool.name, {})["race"] = compared
    return table


def fleet(setup: Setup) -> Table:
    """Many replicas."""
    size, most = 30, setup.replicas
    scripts = setup.history(size, locked=True) / "migrations"
    table = Table(
        key="fleet",
        title=f"Replicas that start at once, {size} revisions pending",
        note="With more replicas than `max_connections` allows, some wait without a connection, "
        "and look once a second.",
        head=("", "ready", "applied", "after the last revision", "in all"),
    )

    def add(
        name: str, run: Callable[..., dict[str, Any]], databases: Databases, count: int
    ) -> None:
        url = databases.new()
        most_connections = databases.row(url, "show max_connections")[0]
        found = run(url, scripts, count)
        table.rows.append(
            (
                f"{count} {name}, max_connections {most_connections}",
                f"{found['ready']} of {count}",
                f"{found['applied']} by {found['appliers']}",
                duration(max(0.0, found["after_last"])),
                duration(found["seconds"]),
            )
        )

    for count in sorted({min(60, most), most}):
        add("processes", replicas.processes, setup.databases, count)
    with Databases.on(setup.given_url, connections=3 * most) as roomy:
        add("processes", replicas.processes, roomy, most)
        add("threads", replicas.threads, roomy, most * 2)
    times = []
    for _ in range(max(2, setup.rounds // 2)):
        url = setup.databases.new()
        times.append(replicas.takeover(url, setup.history(1000, locked=True) / "migrations"))
    table.rows.append(
        ("takeover after kill -9 of the holder", "", "", duration(statistics.median(times)), "")
    )
    return table


def memory(setup: Setup) -> Table:
    """Memory of a start with nothing to do."""
    size = max(setup.sizes)
    table = Table(
        key="memory",
        title=f"Memory that a start with nothing to do adds, {size} revisions",
        note="Resident set of the process, before and after the call.",
        head=("", "an app with SQLAlchemy and psycopg", "an app with nothing imported"),
    )
    url = setup.databases.new()
    _pretend_applied(setup, url, size)
    for kind, locked in (("automigrate", True), ("alembic", False)):
        scripts = str(setup.history(size, locked=locked) / "migrations")
        cells = []
        for app in ("psycopg,sqlalchemy.orm,sqlalchemy.dialects.postgresql.psycopg", "json"):
            found = _inside(url, "memory", kind, app, url.conninfo(), scripts)
            cells.append(f"{found['after'] - found['before']:.1f} MB on {found['before']:.0f} MB")
        table.rows.append((kind, *cells))
    return table


SCENARIOS: dict[str, Callable[[Setup], Table]] = {
    "cold": cold,
    "inside": inside,
    "pending": pending,
    "apply": apply,
    "race": race,
    "fleet": fleet,
    "memory": memory,
}


def _pretend_applied(setup: Setup, url: DatabaseURL, size: int, *, missing: int = 0) -> None:
    """Bring a database to where a history leads, without running it: version table and journal."""
    first = setup.history(10, locked=True)
    TOOLS[0].seconds(first, url)
    with psycopg.connect(url.conninfo(), autocommit=True) as connection:
        connection.execute(
            "update alembic_version set version_num = %s",
            (histories.revision_of(size - 1 - missing),),
        )
        connection.execute("delete from automigrate_journal")
        connection.execute(
            "insert into automigrate_journal (revision, down_revisions, direction, state, "
            "finished_at, instance_host, instance_pid, automigrate_version) select "
            "lpad(n::text, 4, '0') || 'c0ffee' || lpad((n %% 97)::text, 2, '0'), "
            "case when n = 0 then '{}'::text[] else array[lpad((n - 1)::text, 4, '0') || 'c0ffee' "
            "|| lpad(((n - 1) %% 97)::text, 2, '0')] end, 'upgrade', 'applied', now(), 'bench', 1, "
            "'0' from generate_series(0, %s) n",
            (size - 1 - missing,),
        )
        for n in range(10):
            connection.execute(f"drop table t{n}".encode())
        connection.execute("vacuum analyze automigrate_journal")


def _apply_once(setup: Setup, tool: Tool, directory: Path) -> float | None:
    url = setup.databases.new()
    return tool.seconds(directory, url)


def _apply_inside(setup: Setup, directory: Path) -> float | None:
    return _once(setup, "automigrate", directory, None)


def _pending_once(setup: Setup, kind: str, directory: Path, template: DatabaseURL) -> float | None:
    for cache in directory.rglob("__pycache__"):
        for compiled in cache.iterdir():
            compiled.unlink()
    return _once(setup, kind, directory, template)


def _once(setup: Setup, kind: str, directory: Path, template: DatabaseURL | None) -> float:
    warm, url = setup.databases.new(), setup.databases.new(template)
    warm_scripts = str(setup.history(10, locked=False) / "migrations")
    found = _inside(
        url,
        "once",
        kind,
        warm.conninfo(),
        warm_scripts,
        url.conninfo(),
        str(directory / "migrations"),
    )
    return float(found)


def _inside(url: DatabaseURL, name: str, *arguments: object) -> Any:
    """Call a function of `inside` in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.inside"],
        input=json.dumps([name, arguments]),
        env={**environment(url), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _column(
    table: Table, subjects: Sequence[Subject], floor: Subject, label: str
) -> dict[str, str]:
    for subject in subjects:
        compared = ratio(subject, floor)
        if compared is not None:
            table.points.setdefault(subject.name, {})[label] = compared
    return {subject.name: cell(subject, floor) for subject in subjects}


def _filled(table: Table, names: Sequence[str], columns: Sequence[dict[str, str]]) -> Table:
    for name in names:
        table.rows.append((name, *(column.get(name, "") for column in columns)))
    return table
