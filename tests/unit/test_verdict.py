"""The values that say what was found, and how people read them."""

from __future__ import annotations

import pytest

from automigrate.verdict import Blocker, Holder, Loss, RollbackPlan, RollbackStep, Status, Verdict


@pytest.mark.parametrize(
    ("holder", "text"),
    [
        (Holder(pid=7), "backend pid 7"),
        (Holder(pid=7, application_name="shop"), "shop (backend pid 7)"),
        (
            Holder(
                pid=7,
                application_name="shop",
                client="10.0.0.1",
                since="2026-07-01T10:00:00Z",
            ),
            "shop (backend pid 7, from 10.0.0.1, since 2026-07-01T10:00:00Z)",
        ),
        (Holder(pid=7, client="10.0.0.1"), "backend pid 7 (from 10.0.0.1)"),
    ],
)
def test_a_holder_is_named_as_far_as_it_is_known(holder: Holder, text: str) -> None:
    """What the server hides is left out."""
    assert str(holder) == text


@pytest.mark.parametrize(
    ("blocker", "text"),
    [
        (Blocker(pid=7), "unnamed application (pid 7)"),
        (
            Blocker(
                pid=7,
                application_name="report",
                user="app",
                state="idle in transaction",
                age_seconds=12.34,
                query="select 1",
            ),
            (
                "report (pid 7, user app, idle in transaction, transaction open for 12.3 s, "
                "query: select 1)"
            ),
        ),
    ],
)
def test_a_blocker_is_named_as_far_as_it_is_known(blocker: Blocker, text: str) -> None:
    """Name, pid, user, state, age and statement."""
    assert str(blocker) == text


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (
            Loss(revision="a", what="drops table", table="item", count=2),
            "a drops table item: 2 rows",
        ),
        (
            Loss(revision="a", what="drops column", table="item", column="name", count=1),
            "a drops column item.name: 1 value",
        ),
        (
            Loss(revision="a", what="drops table", table="item", count=90000, exact=False),
            "a drops table item: about 90000 rows",
        ),
        (
            Loss(revision="a", what="may destroy data", statement="delete\n from item"),
            "a may destroy data: how much is not known (delete from item)",
        ),
    ],
)
def test_a_loss_is_told_with_its_size(loss: Loss, text: str) -> None:
    """Rows or values, counted or estimated, or the statement that is not understood."""
    assert str(loss) == text


def test_a_plan_gathers_losses_and_obstacles_of_its_steps() -> None:
    """What is destroyed and what is impossible is seen at once."""
    loss = Loss(revision="b", what="drops table", table="item", count=2)
    steps = (
        RollbackStep(revision="b", losses=(loss,)),
        RollbackStep(revision="a", irreversible=True),
    )
    plan = RollbackPlan(current=("b",), target=(), steps=steps)
    assert plan.losses == (loss,)
    assert plan.irreversible == steps[1:]


@pytest.mark.parametrize("verdict", Verdict)
def test_which_verdicts_may_serve(verdict: Verdict) -> None:
    """Only a right schema, or one that is declared to be good enough, is served on."""
    status = Status(verdict=verdict, current=(), wanted=())
    assert status.serves is (verdict in {Verdict.CURRENT, Verdict.AHEAD, Verdict.MODIFIED})
