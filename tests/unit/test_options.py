"""Options: defaults, checks, contradictions."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, strategies as st

from automigrate.errors import ConfigurationError
from automigrate.options import (
    AheadPolicy,
    CommitPolicy,
    Mode,
    ModifiedPolicy,
    Options,
    OptionsInput,
    PoolerPolicy,
)

SECONDS = [
    "timeout",
    "connect_timeout",
    "lock_timeout",
    "lock_timeout_max",
    "step_timeout",
    "poll_interval",
    "cancel_blockers",
]
ENUMS = {
    "mode": Mode,
    "on_ahead": AheadPolicy,
    "on_modified": ModifiedPolicy,
    "pooler": PoolerPolicy,
    "commits": CommitPolicy,
}


def test_nothing_given_is_the_default() -> None:
    """All options have a default."""
    assert Options.of({}) == Options()


def test_the_input_type_lists_every_option() -> None:
    """The keyword arguments of `upgrade` and the options cannot drift apart."""
    fields = {field.name for field in dataclasses.fields(Options)}
    assert OptionsInput.__optional_keys__ == fields


def test_options_cannot_be_changed() -> None:
    """They are one value for a whole run."""
    field = "timeout"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Options(), field, 1.0)


@pytest.mark.parametrize(
    ("name", "member"), [(name, member) for name, kind in ENUMS.items() for member in kind]
)
def test_a_choice_is_given_as_word_or_member(name: str, member: Any) -> None:
    """Members and their words mean the same."""
    assert getattr(Options.of({name: member.value}), name) is member
    assert getattr(Options.of({name: member}), name) is member


@pytest.mark.parametrize("name", ENUMS)
def test_an_unknown_choice_is_refused_with_the_known_ones(name: str) -> None:
    """The text lists what may be given."""
    with pytest.raises(ConfigurationError) as caught:
        Options.of({name: "nonsense"})
    for member in ENUMS[name]:
        assert repr(member.value) in str(caught.value)


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, "5", True, [1]])
def test_what_is_no_length_of_time_is_refused(name: str, value: object) -> None:
    """Seconds are numbers that are not negative."""
    with pytest.raises(ConfigurationError, match=name):
        Options.of({name: value})


@pytest.mark.parametrize("name", [name for name in SECONDS if name != "timeout"])
def test_zero_seconds_are_refused(name: str) -> None:
    """A time-out of zero would mean no limit to PostgreSQL, which nobody means by it."""
    with pytest.raises(ConfigurationError, match="more than 0 seconds"):
        Options.of({name: 0})


def test_a_timeout_of_zero_means_at_once() -> None:
    """The overall timeout may be zero: look, and do not wait."""
    assert Options.of({"timeout": 0}).timeout == 0.0


@pytest.mark.parametrize("name", SECONDS)
def test_only_some_limits_can_be_lifted(name: str) -> None:
    """`None` lifts a limit of revisions; what waits always has one."""
    if name in {"step_timeout", "cancel_blockers"}:
        assert getattr(Options.of({name: None}), name) is None
    else:
        with pytest.raises(ConfigurationError, match=name):
            Options.of({name: None})


@given(st.integers(min_value=1, max_value=10**6))
def test_whole_seconds_become_floats(value: int) -> None:
    """Integers are accepted as seconds."""
    timeout = Options.of({"timeout": value}).timeout
    assert (timeout, type(timeout)) == (value, float)


def test_a_path_may_be_a_path() -> None:
    """`config` takes a path object."""
    assert Options.of({"config": Path("alembic.ini")}).config == "alembic.ini"


@pytest.mark.parametrize("name", ["target", "config", "version_table", "version_table_schema"])
@pytest.mark.parametrize("value", ["", 5, "a\0b", b"x"])
def test_a_text_is_not_empty_and_has_no_zero_byte(name: str, value: object) -> None:
    """What PostgreSQL and the file system cannot hold is refused before they see it."""
    with pytest.raises(ConfigurationError, match=name):
        Options.of({name: value})


@pytest.mark.parametrize("name", ["version_table", "version_table_schema"])
def test_a_name_that_postgresql_would_cut_is_refused(name: str) -> None:
    """63 bytes are the most, not 63 characters."""
    assert getattr(Options.of({name: "x" * 63}), name) == "x" * 63
    with pytest.raises(ConfigurationError, match="63 bytes"):
        Options.of({name: "ä" * 32})


@pytest.mark.parametrize("value", ["a=1", 5, None])
def test_x_arguments_are_a_sequence(value: object) -> None:
    """A single text would be taken apart into letters, so it is refused."""
    with pytest.raises(ConfigurationError, match="x_arguments"):
        Options.of({"x_arguments": value})
    assert Options.of({"x_arguments": ["a=1", "b=2"]}).x_arguments == ("a=1", "b=2")


@pytest.mark.parametrize(
    ("given_options", "words"),
    [
        ({"lock_timeout": 5.0}, "lock_timeout=5.0 is more than lock_timeout_max=3.0"),
        ({"target": "base"}, "automigrate rollback"),
    ],
)
def test_a_contradiction_is_refused_with_the_remedy(
    given_options: dict[str, object], words: str
) -> None:
    """Options that cannot be meant together name what to change."""
    with pytest.raises(ConfigurationError, match=words):
        Options.of(given_options)


def test_every_fault_is_told_at_once() -> None:
    """Nobody has to start three times to learn of three mistakes."""
    with pytest.raises(ConfigurationError) as caught:
        Options.of({"tiemout": 5, "mode": "x", "poll_interval": -1})
    assert len(caught.value.faults) == 3
    assert "option 'tiemout' does not exist; known are application_version" in str(caught.value)


def test_the_types_of_both_sides_resolve() -> None:
    """Tools that read type hints at run time can read these."""
    assert get_type_hints(Options)["timeout"] is float
