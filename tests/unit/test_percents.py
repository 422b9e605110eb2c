"""Statements without parameters mean the same with every driver."""

from __future__ import annotations

import pytest

from automigrate.alembic_bridge.percents import literal_percents


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("select 1", "select 1"),
        ("select 'a%%'", "select 'a%%'"),
        ("select format('%I', 'x')", "select format('%%I', 'x')"),
        ("select 'x' like '%s'", "select 'x' like '%%s'"),
        ("select '100%%' like '%'", "select '100%%' like '%%'"),
    ],
)
def test_single_percent_signs_are_doubled_where_psycopg_would_refuse_them(
    given: str, sent: str
) -> None:
    """What psycopg accepts already is left alone."""
    assert literal_percents(given) == sent
