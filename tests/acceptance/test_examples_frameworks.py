"""Every framework example: started, probed, used and stopped as a process."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from automigrate import Migrator
from automigrate.health.metrics import Metrics
from tests.acceptance.health_support import (
    EXAMPLES,
    ask,
    environment,
    free_port,
    running,
)

if TYPE_CHECKING:
    from tests.support.servers import Database

UVICORN = ("-m", "uvicorn", "--port", "{port}")
HEADS = [("0003",)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """How to start an example, and where its health is."""

    directory: str
    command: tuple[str, ...]
    health: str = ""
    own_port: bool = False
    """Health is on a port beside the application's."""
    serves: bool = True
    exit_codes: tuple[int, ...] = (0,)


# uvicorn raises the signal that it was stopped by again, after a clean shutdown.
AFTER_UVICORN = (0, -15)
SERVING = {
    "fastapi gate": Example(
        directory="fastapi", command=(*UVICORN, "gate:app"), exit_codes=AFTER_UVICORN
    ),
    "fastapi blocking": Example(
        directory="fastapi", command=(*UVICORN, "blocking:app"), exit_codes=AFTER_UVICORN
    ),
    "starlette": Example(
        directory="starlette", command=(*UVICORN, "app:app"), exit_codes=AFTER_UVICORN
    ),
    "litestar": Example(
        directory="litestar",
        command=(*UVICORN, "app:app"),
        health="/health",
        exit_codes=AFTER_UVICORN,
    ),
    "quart": Example(directory="quart", command=(*UVICORN, "app:app"), exit_codes=AFTER_UVICORN),
    "flask": Example(
        directory="flask", command=("-m", "flask", "run", "--port", "{port}"), exit_codes=(-15,)
    ),
    "wsgi": Example(
        directory="wsgi", command=("-m", "gunicorn", "-b", "127.0.0.1:{port}", "app:application")
    ),
    "wsgi of the standard library": Example(
        directory="wsgi", command=("app.py",), exit_codes=(-15,)
    ),
    "gunicorn with 4 workers and preload": Example(
        directory="gunicorn", command=("-m", "gunicorn", "app:app"), own_port=True
    ),
    "uvicorn with 4 workers": Example(
        directory="uvicorn",
        command=(*UVICORN, "app:app", "--workers", "4"),
        exit_codes=AFTER_UVICORN,
    ),
}


@pytest.mark.parametrize("name", SERVING)
def test_the_example_becomes_ready_serves_and_stops(name: str, database: Database) -> None:
    """It is ready within its start, answers from the newest schema, and ends at SIGTERM."""
    example, port, beside = SERVING[name], free_port(), free_port()
    health = beside if example.own_port else port
    env = environment(DATABASE_URL=database.url, PORT=str(port), HEALTH_PORT=str(beside))
    command = [part.format(port=port) for part in example.command]
    with running(command, cwd=EXAMPLES / example.directory, env=env) as process:
        # Several in a row: each worker answers for itself.
        process.until(
            lambda: all(ask(health, f"{example.health}/readyz").status == 200 for _ in range(12))
        )
        process.until(lambda: ask(port).status == 200)
        assert ask(port).json["new_orders"] == 0
        for endpoint in ("livez", "startupz"):
            assert ask(health, f"{example.health}/{endpoint}").status == 200
        details = ask(health, f"{example.health}/readyz?verbose").json
        assert (details["verdict"], details["heads"]["current"]) == ("current", ["0003"])
        assert database.rows("select version_num from alembic_version") == HEADS
        assert process.terminate() in example.exit_codes, process.text
        assert "Traceback" not in process.text


def test_the_worker_answers_health_works_and_stops(database: Database) -> None:
    """It packs the orders that are there and ends at SIGTERM with exit code 0."""
    port = free_port()
    env = environment(DATABASE_URL=database.url, HEALTH_PORT=str(port))
    with running(["worker.py"], cwd=EXAMPLES / "worker", env=env) as process:
        process.until(lambda: ask(port, "/readyz").status == 200)
        database.execute("insert into orders (product) values ('tea')")
        process.until(lambda: "packed tea" in process.text)
        assert "automigrate_ready 1.0" in ask(port, "/metrics").text
        assert process.terminate() == 0, process.text


def test_the_observed_application_shows_its_own_metrics_too(database: Database) -> None:
    """One /metrics for both, in the application's registry."""
    port = free_port()
    env = environment(DATABASE_URL=database.url)
    command = [part.format(port=port) for part in (*UVICORN, "app:app")]
    with running(command, cwd=EXAMPLES / "observability", env=env) as process:
        process.until(lambda: ask(port, "/readyz").status == 200)
        assert ask(port).text == "hello"
        metrics = ask(port, "/metrics").text
        assert "shop_greetings_total 1.0" in metrics
        assert 'automigrate_runs_total{outcome="migrated"} 1.0' in metrics
        assert 'automigrate_revision_duration_seconds_count{direction="upgrade"} 3.0' in metrics
        process.terminate()


def test_the_alert_rules_are_about_metrics_that_exist() -> None:
    """Each rule has an expression, a severity and a summary, and names our metrics only."""
    rules = yaml.safe_load((EXAMPLES / "observability" / "alerts.yaml").read_text())
    known = Metrics(Migrator("postgresql://nowhere/none", "migrations")).render().decode()
    names = {
        line.split()[2] for line in known.splitlines() if line.startswith("# TYPE automigrate")
    }
    assert len(rules["groups"][0]["rules"]) >= 5
    for rule in rules["groups"][0]["rules"]:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule)
        assert rule["labels"]["severity"] in {"page", "ticket"}
        used = re.findall(r"automigrate_\w+", rule["expr"])
        assert used
        for name in used:
            assert name.removesuffix("_bucket") in names, name


def test_every_example_needs_one_line() -> None:
    """No example but for the worker is longer than fifty lines, and each uses a migrator once."""
    for path in EXAMPLES.glob("*/*.py"):
        source = path.read_text()
        if path.parts[-2] in {"quickstart", "docker"} or "Migrator" not in source:
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "Migrator"
        ]
        assert len(calls) == 1, path
        assert len(source.splitlines()) <= 65, path
