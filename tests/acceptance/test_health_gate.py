"""The gate under a real server, before a real database, watched by clients."""

from __future__ import annotations

import textwrap
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.health_support import Answer, ask, environment, free_port, running
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.health_support import Process
    from tests.support.projects import Project
    from tests.support.servers import Database

APPLICATION = """
import os
import time

from automigrate import Migrator
from automigrate.health.asgi import GateMiddleware

REACHED = open(os.environ["REACHED"], "a", buffering=1)


async def behind(scope, receive, send):
    REACHED.write(f"{scope['type']} {time.time()}\\n")
    if scope["type"] != "http":
        raise NotImplementedError
    headers = [(b"content-type", b"text/html")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<title>The shop</title>served"})


app = GateMiddleware(
    behind,
    Migrator(os.environ["DATABASE_URL"], os.environ["MIGRATIONS"]),
    live_every=0.5,
    grace_seconds=float(os.environ.get("GRACE", "20")),
)
"""


@dataclass(slots=True, kw_only=True)
class Shop:
    """The application of these tests, and what reached it behind the gate."""

    process: Process
    port: int
    reached: Path

    def ready(self) -> bool:
        """Whether it says so itself."""
        return ask(self.port, "/readyz").status == 200


class started:  # noqa: N801 -- reads as a function
    """Run the application in gate mode under uvicorn."""

    def __init__(self, project: Project, database: Database, tmp_path: Path, **more: str) -> None:
        (tmp_path / "shop.py").write_text(textwrap.dedent(APPLICATION))
        reached = tmp_path / "reached"
        reached.touch()
        port = free_port()
        env = environment(
            **{"DATABASE_URL": database.url, **more},
            MIGRATIONS=str(project.scripts),
            REACHED=str(reached),
        )
        arguments = ["-m", "uvicorn", "--port", str(port), "--log-level", "warning", "shop:app"]
        self._running = running(arguments, cwd=tmp_path, env=env)
        self._port, self._reached = port, reached

    def __enter__(self) -> Shop:
        process = self._running.__enter__()
        return Shop(process=process, port=self._port, reached=self._reached)

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(None, None, None)


def slow(project: Project, revisions: int, seconds: float) -> None:
    """Write revisions that take this long each."""
    for number in range(1, revisions + 1):
        project.add(
            f"s{number}", upgrade=f'op.execute("select pg_sleep({seconds}), {number} as step")'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What three requests at about one moment were answered."""

    livez: Answer
    readyz: Answer
    app: Answer
    at: float


def sampled(port: int, until_ready: threading.Event, samples: list[Sample]) -> None:
    """Ask every 50 ms, as a kubelet in a hurry, until told to stop."""
    while not until_ready.wait(0.05):
        at = time.time()
        livez = ask(port, "/livez")
        if livez.status == 0 and not samples:
            continue
        samples.append(Sample(livez=livez, readyz=ask(port, "/readyz"), app=ask(port, "/"), at=at))


@pytest.mark.slow
def test_a_migration_of_8_seconds_never_fails_a_probe_and_lets_nobody_through(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """Alive throughout, unready with growing progress until the end, nothing reached before."""
    slow(project, 4, 2.0)
    with started(project, database, tmp_path) as shop:
        samples: list[Sample] = []
        over = threading.Event()
        client = threading.Thread(target=sampled, args=(shop.port, over, samples))
        client.start()
        shop.process.until(lambda: samples and samples[-1].app.status == 200)
        over.set()
        client.join()
        before = [sample for sample in samples if sample.readyz.status == 503]
        lasted = before[-1].at - before[0].at
        assert lasted > 7.0
        assert len(before) > 30
        assert {sample.livez.status for sample in samples} == {200}
        assert {sample.app.status for sample in before[:-1]} == {503}
        phases = [sample.readyz.json["phase"] for sample in before]
        assert "migrating" in phases
        progress = [sample.readyz.json["progress"] for sample in before]
        percents = [one["percent"] or 0.0 for one in progress]
        assert percents == sorted(percents)
        assert {25.0, 50.0, 75.0} <= set(percents)
        elapsed = [one["elapsed_seconds"] for one in progress if one["total"]]
        assert elapsed == sorted(elapsed)
        assert elapsed[-1] > 7.0
        ready = next(sample for sample in samples if sample.readyz.status == 200)
        reached = [line.split() for line in shop.reached.read_text().splitlines()]
        assert reached
        # A request that arrived may have been sent up to one sample before readiness was told.
        assert all(float(at) > before[-1].at for _, at in reached), (ready.at, reached)


def test_every_answer_of_a_closed_gate_says_when_to_come_back(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """503, Retry-After, no caching; JSON for programs, the page for browsers; HEAD works."""
    slow(project, 1, 2.0)
    with started(project, database, tmp_path) as shop:
        shop.process.until(lambda: ask(shop.port, "/livez").status == 200)
        answers = [
            ask(shop.port, "/anything", accept="application/json"),
            ask(shop.port, "/anything", accept="text/html"),
            ask(shop.port, "/anything", method="POST", accept="text/html"),
            ask(shop.port, "/readyz"),
        ]
        head = ask(shop.port, "/readyz", method="HEAD")
        assert {answer.status for answer in (*answers, head)} == {503}
        for answer in (*answers, head):
            assert answer.headers["retry-after"] == "2"
            assert answer.headers["cache-control"] == "no-store"
        assert [answer.headers["content-type"].split(";")[0] for answer in answers] == [
            "application/problem+json",
            "text/html",
            "text/html",
            "application/json",
        ]
        assert "What you sent was not taken." in answers[2].text
        assert head.text == ""
        assert int(head.headers["content-length"]) > 20
        shop.process.until(shop.ready)


def test_readiness_follows_a_downgrade_by_another_process_and_the_way_back(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """Unready with the verdict when the schema goes back under it, ready when it returns."""
    project.extend(2)
    with started(project, database, tmp_path) as shop:
        shop.process.until(shop.ready)
        project.alembic("downgrade", "-1", url=database.url)
        shop.process.until(lambda: ask(shop.port, "/readyz").status == 503)
        details = ask(shop.port, "/readyz?verbose").json
        assert (details["verdict"], details["heads"]) == (
            "behind",
            {"current": ["r0001"], "wanted": ["r0002"]},
        )
        assert ask(shop.port, "/livez").status == 200
        assert ask(shop.port, "/").status == 200, "the gate opened for good"
        project.alembic("upgrade", "head", url=database.url)
        shop.process.until(shop.ready)


def test_probes_cost_one_connection_in_the_time_of_a_cached_look(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """However many probes come in two seconds, they make four looks, of one query each."""
    project.extend(1)
    with started(project, database, tmp_path) as shop:
        shop.process.until(shop.ready)
        before = database.statements()
        begun = time.monotonic()
        probes = 0
        while (lasted := time.monotonic() - begun) < 2.0:
            assert shop.ready()
            probes += 1
        since = database.statements()[len(before) :]
        looks = len({statement.pid for statement in since})
        assert probes > 20
        assert 1 <= looks <= lasted / 0.5 + 1
        assert len(since) == looks, "one query each"


def test_the_blocker_of_a_revision_is_named_while_it_blocks(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """Who holds the table is told with pid and application, and without its query."""
    project.add("b1", upgrade='op.execute("create table shelf (id integer)")')
    project.alembic("upgrade", "head", url=database.url)
    project.add("b2", upgrade='op.execute("alter table shelf add column label text")')
    with database.connect(application_name="month-end report") as blocker:
        blocker.autocommit = False
        blocker.execute("select count(*) as secret_of_the_report from shelf")
        with started(project, database, tmp_path) as shop:
            shop.process.until(
                lambda: (
                    (answer := ask(shop.port, "/readyz?verbose")).status and answer.json["blockers"]
                )
            )
            answer = ask(shop.port, "/readyz?verbose")
            blockers = answer.json["blockers"]
            if blockers:  # between two attempts nobody blocks
                assert blockers[0]["application_name"] == "month-end report"
                assert blockers[0]["pid"] == blocker.info.backend_pid
                assert blockers[0]["state"] == "idle in transaction"
            assert answer.json["revision"]["revision"] == "b2"
            assert "secret_of_the_report" not in answer.text
            blocker.rollback()
            shop.process.until(shop.ready)


def test_a_waiting_process_names_the_holder_of_the_lock(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """The second of two says who migrates, and both become ready."""
    slow(project, 1, 3.0)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with started(project, database, tmp_path / "one") as one:
        one.process.until(lambda: migrating(one))
        with started(project, database, tmp_path / "two") as two:
            two.process.until(lambda: waiting(two))
            two.process.until(lambda: ask(two.port, "/readyz?verbose").json["lock_holder"])
            holder = ask(two.port, "/readyz?verbose").json["lock_holder"]
            if holder is not None:
                assert holder["application_name"].startswith("automigrate")
                assert holder["pid"] > 0
            one.process.until(one.ready)
            two.process.until(two.ready)


def migrating(shop: Shop) -> bool:
    """Whether it applies a revision at this moment."""
    answer = ask(shop.port, "/readyz")
    return answer.status == 503 and answer.json["phase"] == "migrating"


def at_work(shop: Shop) -> bool:
    """Whether a revision is running at this moment."""
    answer = ask(shop.port, "/readyz?verbose")
    return answer.status == 503 and answer.json["revision"] is not None


def waiting(shop: Shop) -> bool:
    """Whether it waits for another process at this moment."""
    answer = ask(shop.port, "/readyz")
    return answer.status == 503 and answer.json["phase"] == "waiting for lock"


def test_a_revision_that_fails_makes_the_process_dead_and_shows_no_sql(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """An orchestrator restarts it; body and page say that it failed, not how."""
    project.add("f1", upgrade='op.execute("alter table secret_table add column x integer")')
    with started(project, database, tmp_path) as shop:
        shop.process.until(lambda: ask(shop.port, "/livez").status == 503)
        details = ask(shop.port, "/readyz?verbose")
        assert details.json["error"] == {"type": "UpgradeError", "revision": "f1"}
        page = ask(shop.port, "/", accept="text/html")
        assert "Not available right now" in page.text
        assert "secret_table" not in details.text + page.text


def test_a_database_that_comes_late_is_waited_for_and_the_process_stays_alive(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """Attempts to connect are counted while the server is away; then the schema is made."""
    project.extend(1)
    with FaultProxy("127.0.0.1", database.server.port) as proxy:
        proxy.refuse()
        url = database.tcp_url.replace(f":{database.server.port}/", f":{proxy.port}/")
        with started(project, database, tmp_path, DATABASE_URL=url) as shop:
            shop.process.until(
                lambda: (
                    (answer := ask(shop.port, "/readyz?verbose")).status == 503
                    and answer.json["connection_attempts"] >= 2
                )
            )
            assert ask(shop.port, "/readyz").json["phase"] == "connecting"
            assert ask(shop.port, "/livez").status == 200
            proxy.resume()
            shop.process.until(shop.ready)


def test_sigterm_in_a_migration_ends_the_process_at_a_revision_boundary(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """The revision at work is finished, the next one is not begun, nothing is half done."""
    slow(project, 3, 1.5)
    with started(project, database, tmp_path) as shop:
        shop.process.until(lambda: at_work(shop))
        begun = time.monotonic()
        shop.process.terminate()
        assert time.monotonic() - begun < 10.0
        done = database.rows("select version_num from alembic_version")
        assert done in ([("s1",)], [("s2",)])
    with started(project, database, tmp_path) as shop:
        shop.process.until(shop.ready)
    assert database.rows("select version_num from alembic_version") == [("s3",)]


def test_sigterm_rolls_a_long_revision_back_within_the_grace_time(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """A revision of a minute ends after the grace time, as if it had not begun."""
    project.add(
        "l1",
        upgrade="""
        op.execute("create table half (id integer)")
        op.execute("select pg_sleep(60)")
        """,
    )
    with started(project, database, tmp_path, GRACE="0.5") as shop:
        shop.process.until(lambda: at_work(shop))
        begun = time.monotonic()
        shop.process.terminate()
        assert time.monotonic() - begun < 10.0
    assert database.rows("select to_regclass('half')") == [(None,)]
