"""The reading of `automigrate upgrade` without click."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from automigrate.cli import plain
from automigrate.cli.catalogue import SETTINGS
from automigrate.cli.group import configured, flags_of
from automigrate.cli.upgrade import command as upgrade

if TYPE_CHECKING:
    from automigrate.cli.settings import Flags

FLAGS = [flag for s in SETTINGS for flag in (s.flag, s.short) if flag]


def by_click(arguments: list[str]) -> Flags | None:
    """Read the arguments of `upgrade` as click does; None where it does not get to running."""
    try:
        context = upgrade.make_context("upgrade", list(arguments))
    except (click.ClickException, click.exceptions.Exit):
        return None
    given = dict(context.params)
    return None if given.pop("as_json") else flags_of(given)


TOKENS = st.one_of(
    st.sampled_from(FLAGS),
    st.sampled_from(["--json", "--help", "--", "-", "", "--time", "-x", "-xa=b", "--nope", "word"]),
    st.text(alphabet="abz019=-: ", max_size=5),
    st.builds("{}={}".format, st.sampled_from(FLAGS), st.text(alphabet="ab=- ", max_size=4)),
)


@hypothesis_settings(max_examples=500)
@given(st.lists(TOKENS, max_size=6))
def test_what_is_read_plainly_is_read_the_same_by_click(tokens: list[str]) -> None:
    """The short way never disagrees with click; where it is not sure it leaves it to click."""
    flags = plain.read(["upgrade", *tokens])
    if flags is not None:
        assert flags == by_click(tokens)


@hypothesis_settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from([s for s in SETTINGS if s.name != "x_arguments"]),
        st.text(min_size=1, max_size=8).filter(lambda text: not text.startswith("-")),
        max_size=6,
    )
)
def test_every_plain_form_takes_the_short_way(chosen: dict[object, str]) -> None:
    """Known long options with values never need click."""
    given_flags = {s.name: value for s in SETTINGS if (value := chosen.get(s)) is not None}
    spaced = [w for s in SETTINGS if s.name in given_flags for w in (s.flag, given_flags[s.name])]
    joined = [f"{s.flag}={given_flags[s.name]}" for s in SETTINGS if s.name in given_flags]
    assert plain.read(["upgrade", *spaced]) == given_flags == by_click(spaced)
    assert plain.read(["upgrade", *joined]) == given_flags == by_click(joined)


def test_x_arguments_are_collected() -> None:
    """`-x` and `--x-arg` may be repeated."""
    tokens = ["-x", "a=1", "--x-arg", "b=2", "--x-arg=c=3"]
    assert plain.read(["upgrade", *tokens]) == {"x_arguments": ("a=1", "b=2", "c=3")}
    assert by_click(tokens) == {"x_arguments": ("a=1", "b=2", "c=3")}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--version"],
        ["status"],
        ["wait", "--timeout", "5"],
        ["upgrade", "--help"],
        ["upgrade", "-h"],
        ["upgrade", "--json"],
        ["upgrade", "--timeout"],
        ["upgrade", "--timeout", "--target"],
        ["upgrade", "--timeout", "1", "--timeout", "2"],
        ["upgrade", "--time", "1"],
        ["upgrade", "head"],
        ["upgrade", "-xa=1"],
    ],
)
def test_the_unusual_is_left_to_click(arguments: list[str]) -> None:
    """Help, other commands, repetitions and mistakes are read by click."""
    assert plain.read(arguments) is None


def test_a_command_keeps_its_own_options() -> None:
    """Options of one command stand beside the shared ones."""

    @configured
    @click.option("--one")
    @click.option("--two")
    def command(*_: object, **__: object) -> int:
        return 0

    names = [parameter.name for parameter in command.params]
    assert names[:2] == ["one", "two"]
    assert len(names) == 2 + len(SETTINGS)
