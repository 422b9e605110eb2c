from __future__ import annotations

import json
from typing import Any

import pytest

from automigrate.errors import UpgradeError
from automigrate.events import (
    BlockersSeen,
    LockWaited,
    Phase,
    PhaseEntered,
    ProgressSeen,
    RunFailed,
    RunFinished,
    SchemaJudged,
)
from automigrate.health.accepting import Form, preferred
from automigrate.health.endpoints import Answer, Endpoints
from automigrate.verdict import Blocker, Holder
from tests.unit.health_support import BEHIND, PENDING, REPORT, FakeMigrator, started

STARTING = PhaseEntered(phase=Phase.STARTING)
MIGRATING = PhaseEntered(phase=Phase.MIGRATING)
FINISHED = RunFinished(report=REPORT)
FAILED = RunFailed(
    error=UpgradeError(
        applied=(),
        failed="b2",
        pending=("b2",),
        rolled_back=True,
        reason="(UndefinedColumn) [SQL: alter table secret_table] password=hunter2",
    )
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


class GateStub:
    """A gate that is as the test says."""

    def __init__(self, *, is_open: bool = False, given_up: bool = False) -> None:
        self.is_open = is_open
        self.given_up = given_up


def body_of(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    body: dict[str, Any] = json.loads(answer.body)
    return body


def status_of(endpoints: Endpoints, name: str) -> int:
    """Return the status code of an endpoint."""
    return endpoints.answer(name).status.value


@pytest.mark.parametrize(
    ("events", "livez", "readyz", "startupz"),
    [
        pytest.param([STARTING], 200, 503, 503, id="starting"),
        pytest.param([PhaseEntered(phase=Phase.CONNECTING)], 200, 503, 503, id="connecting"),
        pytest.param([PhaseEntered(phase=Phase.WAITING_FOR_LOCK)], 200, 503, 503, id="waiting"),
        pytest.param([MIGRATING], 200, 503, 503, id="migrating"),
        pytest.param([STARTING, FINISHED], 200, 200, 200, id="ready"),
        pytest.param([STARTING, FINISHED, STARTING], 200, 503, 200, id="runs again"),
        pytest.param([STARTING, FAILED], 503, 503, 503, id="failed"),
        pytest.param(
            [STARTING, FINISHED, PhaseEntered(phase=Phase.STOPPING)], 200, 503, 200, id="stopping"
        ),
    ],
)
def test_each_phase_has_its_three_answers(
    events: list[Any], livez: int, readyz: int, startupz: int
) -> None:
    """Alive unless failed for good, started once ready, ready only when ready."""
    migrator = FakeMigrator(BEHIND)
    endpoints = Endpoints(migrator, look=migrator.look)
    migrator.tell(*events)
    answers = [status_of(endpoints, name) for name in ("livez", "readyz", "startupz")]
    assert answers == [livez, readyz, startupz]


def test_a_closed_gate_is_not_ready_though_the_schema_is_right() -> None:
    """The application behind the gate has to start, too."""
    migrator = FakeMigrator()
    gate = GateStub()
    endpoints = Endpoints(migrator, look=migrator.look, gate=gate)
    migrator.tell(STARTING, FINISHED)
    assert status_of(endpoints, "readyz") == 503
    assert status_of(endpoints, "startupz") == 503
    gate.is_open = True
    assert status_of(endpoints, "readyz") == 200
    assert status_of(endpoints, "startupz") == 200


def test_a_gate_that_tries_again_is_alive_and_one_that_has_given_up_is_not() -> None:
    """A failure that may pass is no reason to restart the process."""
    migrator = FakeMigrator(BEHIND)
    gate = GateStub()
    endpoints = Endpoints(migrator, look=migrator.look, gate=gate)
    migrator.tell(STARTING, FAILED)
    assert status_of(endpoints, "livez") == 200
    gate.given_up = True
    assert status_of(endpoints, "livez") == 503


def test_the_short_body_tells_phase_and_progress() -> None:
    """Anyone may see the phase and how far it is."""
    migrator = FakeMigrator()
    endpoints = Endpoints(migrator, look=migrator.look)
    migrator.tell(MIGRATING, started("a1", 1, 4), started("b2", 2, 4))
    body = body_of(endpoints.answer("readyz"))
    assert set(body) == {"status", "phase", "progress"}
    assert (body["status"], body["phase"]) == ("unavailable", "migrating")
    assert {key: body["progress"][key] for key in ("done", "total", "percent")} == {
        "done": 1,
        "total": 4,
        "percent": 25.0,
    }


def test_the_long_body_names_revision_step_holder_and_blockers() -> None:
    """`?verbose` tells all that an engineer on call wants to know."""
    migrator = FakeMigrator()
    endpoints = Endpoints(migrator, look=migrator.look)
    migrator.tell(
        MIGRATING,
        SchemaJudged(status=PENDING),
        started("b2", 1, 1),
        ProgressSeen(revision="b2", phase="building index", percent=40.0),
        LockWaited(
            holder=Holder(pid=7, application_name="web-1", client="10.0.0.7"), waited_seconds=1
        ),
        BlockersSeen(
            revision="b2",
            blockers=(Blocker(pid=9, application_name="report", query="select secret"),),
            waited_seconds=1.0,
        ),
    )
    body = body_of(endpoints.answer("readyz", query="verbose"))
    assert body["checks"] == [{"name": "schema", "status": "failed"}]
    assert body["verdict"] == "behind"
    assert body["heads"] == {"current": ["a1"], "wanted": ["b2"]}
    assert body["revision"]["revision"] == "b2"
    assert (body["revision"]["step"], body["revision"]["percent"]) == ("building index", 40.0)
    assert body["lock_holder"] == {"pid": 7, "application_name": "web-1", "since": None}
    assert body["blockers"][0]["application_name"] == "report"


def test_no_body_shows_sql_an_error_text_or_an_address() -> None:
    """Neither statements, nor texts of errors, nor client addresses leave the process."""
    migrator = FakeMigrator(BEHIND)
    migrator.found = OSError("password=hunter2")
    gate = GateStub(given_up=True)
    endpoints = Endpoints(migrator, look=migrator.look, gate=gate, on_failed_look="unready")
    migrator.tell(
        MIGRATING,
        LockWaited(holder=Holder(pid=7, client="10.0.0.7"), waited_seconds=1),
        BlockersSeen(
            revision="b2",
            blockers=(Blocker(pid=9, query="select secret_table"),),
            waited_seconds=1.0,
        ),
    )
    answers = [endpoints.answer("readyz", query="verbose")]
    migrator.tell(FAILED)
    gate.is_open = True
    answers += [endpoints.answer(name, query="verbose") for name in ("livez", "readyz", "startupz")]
    answers += [endpoints.turned_away(accept=accept) for accept in (BROWSER, "application/json")]
    told = b"".join(answer.body for answer in answers)
    assert b"UpgradeError" in told
    assert b"OSError" in told
    for secret in (b"secret_table", b"hunter2", b"10.0.0.7"):
        assert secret not in told


def test_every_answer_forbids_caching_and_a_bad_one_says_when_to_come_back() -> None:
    """No proxy may keep an answer; 503 has Retry-After, 200 has not."""
    migrator = FakeMigrator()
    endpoints = Endpoints(migrator, look=migrator.look, retry_after_seconds=7)
    migrator.tell(STARTING)
    bad, good = endpoints.answer("readyz"), endpoints.answer("livez")
    turned_away = endpoints.turned_away()
    assert dict(bad.headers)["Retry-After"] == dict(turned_away.headers)["Retry-After"] == "7"
    assert "Retry-After" not in dict(good.headers)
    for answer in (bad, good, turned_away):
        assert dict(answer.headers)["Cache-Control"] == "no-store"


def test_head_has_the_headers_of_get_and_no_body() -> None:
    """HEAD tells the length of what GET would have sent."""
    endpoints = Endpoints(FakeMigrator())
    get, head = endpoints.answer("livez"), endpoints.answer("livez", method="HEAD")
    assert head.headers == get.headers
    assert head.shown("HEAD") == b""
    assert len(get.shown("GET")) == int(dict(get.headers)["Content-Length"])


def test_other_methods_are_not_allowed() -> None:
    """A probe only reads."""
    answer = Endpoints(FakeMigrator()).answer("livez", method="POST")
    assert answer.status.value == 405
    assert dict(answer.headers)["Allow"] == "GET, HEAD"


def test_names_are_found_below_the_prefix_only() -> None:
    """With a prefix the application keeps its own /readyz."""
    endpoints = Endpoints(FakeMigrator(), prefix="/health/")
    assert endpoints.find("/health/readyz") == "readyz"
    assert endpoints.find("/readyz") is None
    assert endpoints.find("/health/metrics") is None


def test_a_program_that_is_turned_away_gets_a_problem_document() -> None:
    """Everyone but a browser gets JSON after RFC 9457."""
    migrator = FakeMigrator()
    endpoints = Endpoints(migrator, look=migrator.look, gate=GateStub())
    migrator.tell(MIGRATING, started("a1", 1, 2))
    answer = endpoints.turned_away(accept="*/*")
    assert answer.status.value == 503
    assert dict(answer.headers)["Content-Type"] == "application/problem+json"
    body = body_of(answer)
    assert (body["status"], body["title"], body["phase"]) == (
        503,
        "Service Unavailable",
        "migrating",
    )


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.PROBLEM),
        ("*/*", Form.PROBLEM),
        ("application/json", Form.PROBLEM),
        (BROWSER, Form.PAGE),
        ("text/html", Form.PAGE),
        ("TEXT/HTML ; q=0.5", Form.PAGE),
        ("application/json, text/html;q=0.5", Form.PROBLEM),
        ("text/html;q=0.5, application/json;q=0.4", Form.PAGE),
        ("text/html;q=0", Form.PROBLEM),
        ("text/html;q=nonsense", Form.PROBLEM),
        ("application/vnd.automigrate.page+json", Form.PAGE_VIEW),
    ],
)
def test_the_accept_header_chooses_the_form(accept: str, form: Form) -> None:
    """Browsers get the page, programs JSON, by weight."""
    assert preferred(accept) is form


def test_a_look_is_made_only_when_nothing_runs_and_only_for_what_depends_on_it() -> None:
    """Liveness and a run under way never cost a query."""
    migrator = FakeMigrator()
    endpoints = Endpoints(migrator, look=migrator.look)
    assert not endpoints.blocks("livez")
    assert endpoints.blocks("readyz")
    migrator.tell(MIGRATING)
    assert not endpoints.blocks("readyz")
    status_of(endpoints, "readyz")
    assert migrator.looks == 0


def test_a_process_that_never_migrates_is_ready_by_its_look() -> None:
    """Endpoints of an application whose schema a Job has migrated answer from the database."""
    migrator = FakeMigrator()
    endpoints = Endpoints(migrator, look=migrator.look)
    assert status_of(endpoints, "readyz") == 200
    assert status_of(endpoints, "startupz") == 200
    assert migrator.looks == 1
