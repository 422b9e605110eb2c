"""Locks across `fork`, for servers that load the application once and then fork their workers."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["after_fork"]


def after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in every child process, for as long as its object lives.

    A lock that another thread of the parent holds at the moment of the fork stays locked for ever
    in the child, where that thread does not exist (manual page fork(2)).
    """
    if not hasattr(os, "register_at_fork"):  # Windows has no fork
        return
    reference = weakref.WeakMethod(method)

    def renew() -> None:
        bound = reference()
        if bound is not None:
            bound()

    os.register_at_fork(after_in_child=renew)
