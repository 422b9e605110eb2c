"""Statements for the driver mean the same with every driver."""

from __future__ import annotations

import pytest

from automigrate.alembic_bridge.percents import literal_percents, numbered_placeholders


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


@pytest.mark.parametrize(
    ("statement", "parameters", "sent"),
    [
        ("select $2, $1", ("a", "b"), ("select %s, %s", ("b", "a"))),
        ("values ($1)", [("a",), ("b",)], ("values (%s)", [("a",), ("b",)])),
        ("select '5%' like $1", ("a",), ("select '5%%' like %s", ("a",))),
        ("select %s, '$1'", ("a",), ("select %s, '$1'", ("a",))),
        ("select %(a)s, '$1'", {"a": 1}, ("select %(a)s, '$1'", {"a": 1})),
        ("select '$1'", {"a": 1}, ("select '$1'", {"a": 1})),
        ("select $3", ("a",), ("select $3", ("a",))),
    ],
)
def test_numbered_placeholders_become_those_of_psycopg(
    statement: str, parameters: object, sent: object
) -> None:
    """As asyncpg has them; statements with psycopg's own are left alone."""
    assert numbered_placeholders(statement, parameters) == sent
