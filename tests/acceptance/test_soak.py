"""Random replicas, histories and faults, and what must hold after each round.

``AUTOMIGRATE_SOAK_SECONDS`` makes it longer than its half minute, ``AUTOMIGRATE_SOAK_SEED`` repeats
a run, whose seed is in the test's name.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
import re
import signal
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.projects import Project
from tests.support.proxy import FaultProxy
from tests.support.servers import Database, new_server
from tests.support.victims import LONG, Victim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer

pytestmark = [pytest.mark.fault, pytest.mark.slow]

SECONDS = float(os.environ.get("AUTOMIGRATE_SOAK_SECONDS", "30"))
SEED = int(os.environ.get("AUTOMIGRATE_SOAK_SEED", "20261122"))

ADVISORY = """
select count(*) from pg_locks l where l.locktype = 'advisory'
  and l.database = (select oid from pg_database where datname = current_database())
"""
# A process that has not begun, or is done, has no handler for SIGTERM.
ALLOWED = {0, 9, -signal.SIGKILL, -signal.SIGTERM}
INVALID = "select indexrelid::regclass::text from pg_index where not indisvalid"
BACKENDS = """
select pid from pg_stat_activity
where datname = %s and application_name like 'automigrate %%' order by random() limit 1
"""
INDEX = """
with op.get_context().autocommit_block():
    op.execute("create index concurrently i_{0} on account (balance)")
"""
DOUBLE = """
op.execute("update account set balance = balance * 2")
op.execute("select pg_sleep({0:.3f})")
"""


@pytest.fixture(scope="module")
def crashing_server() -> Iterator[EmbeddedServer]:
    """A server of this module's own, which crashes now and then."""
    with new_server(log_disconnections="on", log_statement="none") as running:
        yield running


class Round:
    """One round: a history, replicas, faults; then the invariants."""

    def __init__(self, server: EmbeddedServer, dice: random.Random, directory: Path) -> None:
        self._server = server
        self._dice = dice
        self._database = Database(server, f"soak_{time.monotonic_ns()}")
        self._project = Project(directory)
        self._doublings = 0
        self.faults: Counter[str] = Counter()
        self._write()

    def _write(self) -> None:
        dice = self._dice
        self._project.add(
            "r00",
            upgrade="""
                op.execute("create table account (id integer primary key, balance numeric)")
                op.execute("insert into account select n, 1 from generate_series(1, 500) n")
            """,
        )
        for number in range(1, dice.randint(2, 7)):
            kind = dice.choice(["double", "double", "index", "index and double", "table"])
            body = f'op.execute("create table t{number} (id integer)")\n'
            if "index" in kind:
                body = INDEX.format(number)
            if "double" in kind:
                doubling = DOUBLE.format(dice.uniform(0, 0.15))
                body = doubling if kind == "double" else body + doubling
                self._doublings += 1
            self._project.add(f"r{number:02d}", upgrade=body)

    def play(self) -> list[str]:
        """Run replicas among faults; return the violations."""
        with ExitStack() as stack:
            proxy = stack.enter_context(FaultProxy(self._server.host, self._server.port))
            through = self._server.tcp_url(self._database.name, host=proxy.host, port=proxy.port)
            victims = []
            for _ in range(self._dice.randint(1, 5)):
                url = self._dice.choice([through, self._database.tcp_url])
                victims.append(Victim(url, self._project.scripts))
                stack.callback(victims[-1].close)
            for _ in range(self._dice.randint(1, 4)):
                time.sleep(self._dice.uniform(0.02, 0.5))
                self._break(victims, proxy)
            ends = [victim.finish() for victim in victims]
            last = Victim(self._database.tcp_url, self._project.scripts)
            stack.callback(last.close)
            ends.append(last.finish())
        violations = [f"ended {end}" for end in ends if end.code not in ALLOWED]
        if ends[-1].code != 0:
            violations.append(f"the last replica ended {ends[-1]}")
        violations += self._violations()
        left = self._database.drop()
        return violations + [f"session left: {session}" for session in left]

    def _break(self, victims: list[Victim], proxy: FaultProxy) -> None:
        fault = self._dice.choice(
            ["kill", "SIGTERM", "freeze", "terminate", "terminate", "cut", "silence", "crash"]
        )
        self.faults[fault] += 1
        victim = self._dice.choice(victims)
        match fault:
            case "kill" if victim.running:
                victim.signal(signal.SIGKILL)
            case "SIGTERM" if victim.running:
                victim.signal(signal.SIGTERM)
            case "freeze" if victim.running:
                victim.signal(signal.SIGSTOP)
                time.sleep(self._dice.uniform(0.1, 0.8))
                victim.signal(signal.SIGCONT)
            case "terminate":
                with psycopg.connect(self._server.url(), autocommit=True) as connection:
                    for (pid,) in connection.execute(BACKENDS, (self._database.name,)).fetchall():
                        connection.execute("select pg_terminate_backend(%s)", (pid,))
            case "cut":
                proxy.cut()
            case "silence":
                proxy.silence()
                time.sleep(self._dice.uniform(0.1, 0.8))
                proxy.cut()
                proxy.resume()
            case "crash":
                self._server.restart(self._dice.choice(["fast", "immediate"]))

    def _violations(self) -> Iterator[str]:
        database, names = self._database, list(self._project.revisions)
        expected = {
            "select distinct balance::text from account": [(str(2**self._doublings),)],
            "select version_num from alembic_version": [(names[-1],)],
            INVALID: [],
            "select revision from automigrate_journal where state = 'applied' order by id": [
                (name,) for name in names
            ],
            "select 1 from automigrate_journal where state in ('running', 'failed')": [],
            ADVISORY: [(0,)],
        }
        deadline = time.monotonic() + LONG
        for query, rows in expected.items():
            while (found := database.rows(query)) != rows and query == ADVISORY:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            if found != rows:
                yield f"{query}: {found}, not {rows}"


@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.parametrize("seed", [SEED])
def test_random_faults_violate_nothing(
    seed: int, crashing_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Whatever happens to whom and when: right schema, each revision once, nothing left over."""
    dice = random.Random(seed)
    rounds, faults, violations = 0, Counter[str](), []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        directory = tmp_path / str(rounds)
        directory.mkdir()
        one = Round(crashing_server, dice, directory)
        violations += [f"round {rounds}: {text}" for text in one.play()]
        faults += one.faults
        rounds += 1
    print(f"{rounds} rounds, {faults.total()} faults {dict(faults)}, {len(violations)} violations")
    assert not violations, "\n".join(violations)
    assert rounds > 0


DISCONNECTED = re.compile(r"^\x1e?([^\x1f]+)\x1f(\d+)\x1f[^\x1f]*\x1f[^\x1f]*\x1f.*disconnection:")


def disconnections(server: EmbeddedServer) -> dict[int, dt.datetime]:
    """Read from the server's log when which backend ended."""
    found = {}
    for record in server.log_path.read_text(errors="replace").split("\x1e"):
        match = DISCONNECTED.match(record)
        if match is not None:
            when = match[1].replace(" UTC", "+00:00")
            found[int(match[2])] = dt.datetime.fromisoformat(when)
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [SEED])
def test_no_two_sessions_believe_to_hold_the_lock(seed: int, project: Project) -> None:
    """By the server's clock, what sessions believe about the lock never overlaps."""
    dice = random.Random(seed)
    project.add("r00", upgrade='op.execute("create table ledger (n integer)")')
    for number in range(1, 25):
        project.add(
            f"r{number:02d}",
            upgrade=f'op.execute("insert into ledger values ({number}); select pg_sleep(0.05)")',
        )
    # The log rounds to milliseconds and is written a moment after the lock was released.
    with new_server(log_disconnections="on", log_timezone="UTC") as server, ExitStack() as stack:
        database = Database(server, "audited")
        database.execute(
            "create schema audit; create unlogged table audit.events "
            "(pid integer, what text, at timestamptz)"
        )
        proxy = stack.enter_context(FaultProxy(server.host, server.port))
        through = server.tcp_url(database.name, host=proxy.host, port=proxy.port)

        def replica() -> Victim:
            found = Victim(dice.choice([through, database.tcp_url]), project.scripts, audited=True)
            stack.callback(found.close)
            return found

        victims = [replica() for _ in range(6)]
        ends = []
        while (alive := [victim for victim in victims if victim.running]) and len(victims) < 14:
            time.sleep(dice.uniform(0.1, 0.4))
            match dice.choice(["kill", "cut", "terminate", "terminate"]):
                case "kill":
                    dice.choice(alive).signal(signal.SIGKILL)
                    victims.append(replica())
                case "cut":
                    proxy.cut()
                case "terminate":
                    with psycopg.connect(server.url(), autocommit=True) as connection:
                        connection.execute(
                            "select pg_terminate_backend(pid) from pg_locks "
                            "where locktype = 'advisory' and granted"
                        )
        ends = [victim.finish() for victim in victims]
        assert {end.code for end in ends} <= {0, -signal.SIGKILL}, ends
        assert database.rows("select n from ledger order by n") == [(n,) for n in range(1, 25)]
        events = database.rows("select pid, what, at from audit.events order by at")
        ended = disconnections(server)
    held = {pid: at for pid, what, at in events if what == "lock taken"}
    verified = {pid: at for pid, what, at in events if what == "verified"}
    spans = sorted((at, verified.get(pid) or ended[pid], pid) for pid, at in held.items())
    print(f"{len(spans)} sessions held the lock, one after the other")
    assert len(spans) > 2, "too few changes of hands to prove anything"
    for (_, until, first), (since, _, second) in itertools.combinations(spans, 2):
        overlap = (until - since).total_seconds()
        assert overlap <= 0.005, f"{first} and {second} both held it for {overlap} s"
