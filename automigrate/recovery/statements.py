"""Read SQL just far enough to see where its statements, clauses and list items end. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["masked", "parts", "split"]

_TOKEN = re.compile(
    r"""
    '(?:[^']|'')*'                  # a string
    | "(?:[^"]|"")*"                # a quoted identifier
    | --[^\n]*                      # a comment to the end of the line
    | /\*                           # a comment, which may hold others
    | \$(?:[^\W\d]\w*)?\$           # a dollar-quoted string
    | [;()]
    """,
    re.VERBOSE,
)
_ESCAPE_STRING = re.compile(r"'(?:[^'\\]|''|\\.)*'", re.DOTALL)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def split(sql: str) -> Iterator[str]:
    """Yield the statements of a script, without semicolons and the comments before them."""
    start = position = 0
    while (token := _TOKEN.search(sql, position)) is not None:
        position = _end(token, sql)
        if token[0] == ";":
            yield from _uncommented(sql[start : token.start()])
            start = position
    yield from _uncommented(sql[start:])


def masked(sql: str) -> str:
    """Blank out strings, comments and what stands in parentheses; the length stays the same.

    What a search finds in the result, it finds at the top level of the statement.
    """
    result: list[str] = []
    position, depth = 0, 0
    while (token := _TOKEN.search(sql, position)) is not None:
        between = sql[position : token.start()]
        end = _end(token, sql)
        quoted = sql[token.start() : end]
        result.append(" " * len(between) if depth else between)
        keep = depth == 0 and quoted.startswith('"')
        result.append(quoted if keep else " " * len(quoted))
        depth = max(0, depth + {"(": 1, ")": -1}.get(token[0], 0))
        position = end
    result.append(" " * (len(sql) - position) if depth else sql[position:])
    return "".join(result)


def parts(sql: str) -> Iterator[str]:
    """Yield the items of a list that commas separate at the top level."""
    blank = re.sub(r'"(?:[^"]|"")*"', lambda found: " " * len(found[0]), masked(sql))
    start = 0
    for comma in re.finditer(",", blank):
        yield sql[start : comma.start()].strip()
        start = comma.end()
    yield sql[start:].strip()


def _end(token: re.Match[str], sql: str) -> int:
    text = token[0]
    if text.startswith("'") and re.search(r"\b[eE]$", sql[: token.start()][-2:]):
        escaped = _ESCAPE_STRING.match(sql, token.start())
        return len(sql) if escaped is None else escaped.end()
    if text.startswith("$"):
        end = sql.find(text, token.end())
        return len(sql) if end < 0 else end + len(text)
    if text != "/*":
        return token.end()
    depth, position = 1, token.end()
    while depth and (edge := _COMMENT_EDGE.search(sql, position)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(sql) if depth else position


def _uncommented(statement: str) -> Iterator[str]:
    text = statement.strip()
    while text.startswith(("--", "/*")):
        token = _TOKEN.match(text)
        assert token is not None
        text = text[_end(token, text) :].strip()
    if text:
        yield text
