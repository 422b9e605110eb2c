"""Which form of an answer a client prefers, from its `Accept` header (RFC 9110, 12.5.1)."""

from __future__ import annotations

import enum

__all__ = ["Form", "preferred"]


class Form(enum.Enum):
    """A form in which the closed gate answers."""

    PROBLEM = "application/problem+json"
    """For programs (RFC 9457)."""
    PAGE = "text/html"
    """For people."""
    PAGE_VIEW = "application/vnd.automigrate.page+json"
    """For the script in the page."""


_KINDS = {
    "text/html": Form.PAGE,
    "application/xhtml+xml": Form.PAGE,
    "application/json": Form.PROBLEM,
    "application/problem+json": Form.PROBLEM,
    "application/vnd.automigrate.page+json": Form.PAGE_VIEW,
}


def preferred(accept: str) -> Form:
    """Return the form that a client asks for; programs that ask for anything get `PROBLEM`."""
    best, best_weight = Form.PROBLEM, 0.0
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        form = _KINDS.get(kind)
        weight = _weight(parameters)
        if form is not None and weight > best_weight:
            best, best_weight = form, weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
