"""asyncio as env.py finds it under Alembic's command line, and as the application left it.

env.py runs in a thread, where `asyncio.get_event_loop()` has no loop to return unless one is set.
What it patches in asyncio (`nest_asyncio`) would go on in the application: its running loop, its
tasks, its `asyncio.run`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["event_loop"]


@contextmanager
def event_loop() -> Iterator[None]:
    """Have a current event loop in this thread, and undo at the end what was patched in asyncio.

    Must be entered in the thread that runs env.py, which is not the main thread.
    """
    own: asyncio.AbstractEventLoop | None = None
    try:
        asyncio.get_event_loop()
    except RuntimeError:
        own = asyncio.new_event_loop()
        asyncio.set_event_loop(own)
    before = [(owner, dict(vars(owner))) for owner in _owners()]
    try:
        yield
    finally:
        for owner, names in before:
            _restore(owner, names)
        if own is not None:
            asyncio.set_event_loop(None)
            own.close()


def _owners() -> Iterator[Any]:
    """Name the modules and classes that are patched to nest loops, and no others: it costs time."""
    events = asyncio.events
    yield from (asyncio, events, asyncio.tasks, asyncio.futures, asyncio.runners)
    for name, value in (*vars(asyncio).items(), *vars(events).items()):
        if name.endswith("EventLoopPolicy") and isinstance(value, type):
            yield value
    for kind in asyncio.SelectorEventLoop.__mro__:
        if kind.__module__.startswith("asyncio."):
            yield kind


def _restore(owner: Any, names: dict[str, Any]) -> None:
    found = dict(vars(owner))
    for name in found.keys() - names.keys():
        if f"{owner.__name__}.{name}" not in sys.modules:
            delattr(owner, name)
    for name, value in names.items():
        if found.get(name) is not value:
            setattr(owner, name, value)
