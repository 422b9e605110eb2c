"""Classes made by `frozen` and `mutable` against those that `dataclass` makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from automigrate.values import field, frozen, mutable


@frozen
class Point:
    """A frozen one."""

    name: str
    x: int = 0
    tags: list[str] = field(default_factory=list, hash=False)
    secret: str = field(default="s", repr=False)

    def __str__(self) -> str:
        return f"at {self.x}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """The same by the standard library."""

    name: str
    x: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)
    secret: str = dataclasses.field(default="s", repr=False)


@mutable
class Total:
    """A mutable one."""

    count: int
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        self.twice = self.count * 2


@frozen
class Plain:
    """Hashable."""

    a: int
    b: tuple[str, ...] = ()


def test_it_is_a_dataclass() -> None:
    """The functions of `dataclasses` work on it."""
    point = Point(name="a", x=2, tags=["t"])
    assert [each.name for each in dataclasses.fields(Point)] == ["name", "x", "tags", "secret"]
    assert dataclasses.asdict(point) == dataclasses.asdict(Standard(name="a", x=2, tags=["t"]))
    assert dataclasses.replace(point, x=3) == Point(name="a", x=3, tags=["t"])
    assert (
        repr(point).split("(", 1)[1] == repr(Standard(name="a", x=2, tags=["t"])).split("(", 1)[1]
    )
    assert str(point) == "at 2"
    assert not hasattr(point, "__dict__")


def test_defaults_are_not_shared() -> None:
    """Each instance gets its own list."""
    Point(name="a").tags.append("t")
    assert Point(name="b").tags == []


def test_equality_and_hash() -> None:
    """By class and content."""
    assert Plain(a=1, b=("x",)) == Plain(a=1, b=("x",))
    assert Plain(a=1) != Plain(a=2)
    other: Any = Standard(name="a")
    assert Point(name="a") != other
    assert len({Plain(a=1), Plain(a=1), Plain(a=2)}) == 2


@pytest.mark.parametrize("given", [{}, {"name": "a", "other": 1}], ids=["missing", "unknown"])
def test_wrong_arguments_are_named(given: dict[str, Any]) -> None:
    """As with any function."""
    with pytest.raises(TypeError, match=r"Point .*'(name|other)'"):
        Point(**given)


def test_a_frozen_one_cannot_be_changed() -> None:
    """Neither set nor deleted."""
    point: Any = Point(name="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.name = "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.name
    assert point.name == "a"


def test_copies_and_pickles_are_equal() -> None:
    """Although nothing can be set from outside."""
    point = Point(name="a", x=4, tags=["t"])
    deep = copy.deepcopy(point)
    assert deep == point
    assert deep.tags is not point.tags
    assert copy.copy(point) == point
    assert pickle.loads(pickle.dumps(point)) == point


def test_a_pattern_finds_fields_by_name() -> None:
    """`match` with keywords."""
    match Point(name="a", x=4):
        case Point(name=name, x=4):
            assert name == "a"
        case _:
            pytest.fail("not matched")


def test_a_mutable_one() -> None:
    """Can be set, and is equal to itself only."""
    total = Total(count=2)
    assert total.twice == 4
    total.count = 3
    assert total != Total(count=3)  # an identity, not a value
    assert repr(total) == "Total(count=3, twice=4)"
    with pytest.raises(AttributeError):
        total.other = 1  # type: ignore[attr-defined]
