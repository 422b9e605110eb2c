"""What is timed inside of a process that has imported everything: run as `benchmarks.inside`.

Prints JSON on stdout: seconds by name, in rounds.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def floor(url: str) -> None:
    """Connect, select, close."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("select 1").fetchone()


def with_automigrate(url: str, scripts: str) -> None:
    """Call what an application calls."""
    import automigrate

    automigrate.upgrade(url, scripts)


def with_alembic(url: str, scripts: str) -> None:
    """Call Alembic as applications do that run it at their start."""
    from alembic import command
    from alembic.config import Config

    from automigrate.database.url import DatabaseURL

    config = Config(str(Path(scripts).parent / "alembic.ini"), stdout=io.StringIO())
    config.set_main_option(
        "sqlalchemy.url", DatabaseURL.parse(url).sqlalchemy_url().replace("%", "%%")
    )
    command.upgrade(config, "head")


ACTIONS: dict[str, Callable[[str, str], None]] = {
    "automigrate": with_automigrate,
    "alembic": with_alembic,
}


def timed(action: Callable[[], None]) -> float:
    """Time a call."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def look(rounds: int, url: str, subjects: list[tuple[str, str, str, str]]) -> dict[str, Any]:
    """Time starts with nothing to do, in rounds; the floor is called `floor`."""
    actions: dict[str, Callable[[], None]] = {"floor": lambda: floor(url)}
    for name, kind, own_url, scripts in subjects:
        actions[name] = lambda k=kind, u=own_url, s=scripts: ACTIONS[k](u, s)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    order = list(actions)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            seconds[name].append(timed(actions[name]))
    return seconds


def once(kind: str, warm_url: str, warm_scripts: str, url: str, scripts: str) -> float:
    """Time one upgrade, after one on another database that imports all it needs."""
    ACTIONS[kind](warm_url, warm_scripts)
    return timed(lambda: ACTIONS[kind](url, scripts))


def first(url: str, scripts: str) -> dict[str, float]:
    """Time the first call of this process, and psycopg doing the least."""
    import automigrate

    assert automigrate.upgrade  # imported with everything else, at the start of an application
    floor(url)
    return {
        "floor": timed(lambda: floor(url)),
        "first": timed(lambda: with_automigrate(url, scripts)),
    }


def memory(kind: str, app: str, url: str, scripts: str) -> dict[str, float]:
    """Measure what a start with nothing to do adds to an application's memory, in MB."""
    for module in app.split(","):
        importlib.import_module(module)
    if "psycopg" in sys.modules:
        floor(url)
    before = _resident()
    ACTIONS[kind](url, scripts)
    return {"before": before, "after": _resident()}


def _resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError


def main() -> None:
    """Run one of the functions above: its name and its arguments as JSON on stdin."""
    name, arguments = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)
    functions: dict[str, Callable[..., Any]] = {
        "look": look,
        "first": first,
        "once": once,
        "memory": memory,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        found = functions[name](*arguments)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
