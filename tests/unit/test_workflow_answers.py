"""What --rename and --drop say, before there is anything to compare."""

from __future__ import annotations

import pytest

from automigrate.errors import ConfigurationError
from automigrate.workflow.answers import Answers


@pytest.mark.parametrize(
    ("renames", "drops", "told"),
    [
        (["people.name"], [], "--rename 'people.name': write it as old:new."),
        (["people.name:"], [], "--rename 'people.name:': write it as old:new."),
        (["a:b", "a:c"], [], "--rename gives a two names, b and c."),
        (["a:b"], ["a"], "a is named by --rename and by --drop: say one of them."),
    ],
)
def test_answers_that_cannot_be_are_refused_at_once(
    renames: list[str], drops: list[str], told: str
) -> None:
    """They contradict each other, or are no pair; no database is needed to see it."""
    with pytest.raises(ConfigurationError) as error:
        Answers(renames, drops)
    assert error.value.faults == (told,)


def test_all_faults_of_answers_are_told_together() -> None:
    """Who mends one does not meet the next one afterwards; the same said twice is no fault."""
    with pytest.raises(ConfigurationError) as error:
        Answers(["a", "b:c", "b:c", "d:e"], ["d"])
    assert len(error.value.faults) == 2
