"""Which changes of a type lose values."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from automigrate.workflow.losses import narrowing

KEPT: list[tuple[Any, Any]] = [
    (sa.String(10), sa.String(20)),
    (sa.String(10), sa.Text()),
    (sa.Integer(), sa.BigInteger()),
    (sa.SmallInteger(), sa.Numeric(8, 2)),
    (sa.Numeric(8, 2), sa.Numeric(10, 2)),
    (sa.Numeric(8, 2), sa.Numeric()),
    (pg.REAL(), pg.DOUBLE_PRECISION()),
    (sa.Integer(), sa.Text()),
    (sa.DateTime(), sa.DateTime(timezone=True)),
    (sa.JSON(), pg.JSONB()),
    (sa.Boolean(), sa.Boolean()),
]
LOST: list[tuple[Any, Any, str]] = [
    (sa.Text(), sa.String(20), "texts longer than 20 fail"),
    (sa.String(20), sa.String(10), "texts longer than 10 fail"),
    (sa.Text(), sa.Integer(), "texts that are no INTEGER fail"),
    (sa.Integer(), sa.String(2), "texts longer than 2 fail"),
    (sa.BigInteger(), sa.Integer(), "out of range"),
    (sa.Integer(), sa.SmallInteger(), "out of range"),
    (sa.Integer(), sa.Numeric(8, 2), "out of range"),
    (sa.Numeric(8, 2), sa.Integer(), "rounded"),
    (sa.Numeric(8, 3), sa.Numeric(8, 2), "digits are lost"),
    (sa.Numeric(8, 2), sa.Numeric(7, 2), "out of range"),
    (sa.Numeric(), sa.Numeric(7, 2), "digits are lost"),
    (sa.Numeric(8, 2), sa.Float(), "digits are lost"),
    (pg.DOUBLE_PRECISION(), pg.REAL(), "digits are lost"),
    (sa.DateTime(timezone=True), sa.DateTime(), "time zone is lost"),
    (sa.DateTime(), sa.Date(), "time of day is lost"),
    (sa.DateTime(), sa.Time(), "date is lost"),
    (pg.UUID(), sa.Integer(), "fail or are lost"),
]


@pytest.mark.parametrize(("old", "new"), KEPT, ids=str)
def test_a_wider_type_loses_nothing(old: Any, new: Any) -> None:
    """Every value of the old type fits."""
    assert narrowing(old, new) is None


@pytest.mark.parametrize(("old", "new", "why"), LOST, ids=str)
def test_a_narrower_type_says_what_is_lost(old: Any, new: Any, why: str) -> None:
    """The text says what becomes of values that do not fit."""
    assert why in (narrowing(old, new) or "")
