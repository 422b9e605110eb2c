"""Leave the application as it was: logging, warnings, signals, sys.path, environment, directory.

A stock env.py calls `logging.config.fileConfig`, which disables the application's loggers, sets
the root logger to WARNING and replaces its handlers (H19). The call is ignored when it comes from
the thread that runs env.py. `dictConfig` works there, because packages that configure logging on
import look for what they configured; but it closes no handler of the application, and it is undone
like whatever else env.py and the scripts change.

Handlers of signals stay the application's: what env.py, or a module that it imports, says about
them is passed over in that thread, where Python would raise an error.
"""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["process_guard"]


@contextmanager
def process_guard(prepend_sys_path: Sequence[str] = ()) -> Iterator[None]:
    """Undo at the end what the code inside changed in process-wide state.

    Must be entered in the thread that runs env.py.

    Args:
        prepend_sys_path: what the configuration puts first in `sys.path`, for the code inside.
    """
    paths, directory, filters = list(sys.path), Path.cwd(), list(warnings.filters)
    variables = dict(os.environ)
    loggers, restore_hooks = _snapshot(), _hooks()
    restore_configurers = _guard_configurers(threading.get_ident())
    restore_signals = _guard_signals(threading.get_ident())
    sys.path[:0] = prepend_sys_path
    try:
        yield
    finally:
        restore_signals()
        restore_configurers()
        _restore(loggers)
        restore_hooks()
        if sys.path != paths:
            sys.path[:] = paths
        if warnings.filters != filters:
            warnings.filters[:] = filters  # type: ignore[index]  # a list at run time
        _restore_environment(variables)
        with suppress(OSError):
            if Path.cwd() != directory:
                os.chdir(directory)


def _hooks() -> Callable[[], None]:
    """Note what a package may hang into Python when it is imported; returns what takes it out."""
    events: Any = asyncio.events
    show, disabled = warnings.showwarning, logging.root.manager.disable
    captured = logging._warnings_showwarning  # type: ignore[attr-defined]  # noqa: SLF001
    policy = events._event_loop_policy  # noqa: SLF001 - asking for it would make one

    def restore() -> None:
        warnings.showwarning = show
        logging._warnings_showwarning = captured  # type: ignore[attr-defined]  # noqa: SLF001
        logging.root.manager.disable = disabled
        if events._event_loop_policy is not policy:  # noqa: SLF001
            events._event_loop_policy = policy  # noqa: SLF001

    return restore


def _restore_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    for name, value in variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _guard_configurers(thread: int) -> Callable[[], None]:
    file_config, dict_config = logging.config.fileConfig, logging.config.dictConfig

    def from_file(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() != thread:
            file_config(*args, **kwargs)

    def from_dict(*args: Any, **kwargs: Any) -> None:
        with _handlers_kept_open() if threading.get_ident() == thread else nullcontext():
            dict_config(*args, **kwargs)

    logging.config.fileConfig, logging.config.dictConfig = from_file, from_dict

    def restore() -> None:
        logging.config.fileConfig, logging.config.dictConfig = file_config, dict_config

    return restore


def _guard_signals(thread: int) -> Callable[[], None]:
    """Pass over what is said about signals in a thread that may not say it.

    Clocks too, because their signal would end the process without the handler made for it.
    """
    if thread == threading.main_thread().ident:
        return lambda: None
    answers: dict[str, Callable[..., Any]] = {
        "signal": lambda number, _handler: signal.getsignal(number),
        "alarm": lambda _seconds: 0,
        "setitimer": lambda *_: (0.0, 0.0),
        "set_wakeup_fd": lambda *_, **__: -1,
    }
    originals = {name: getattr(signal, name) for name in answers if hasattr(signal, name)}

    def guarded(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            here = threading.get_ident() == thread
            return (answers if here else originals)[name](*args, **kwargs)

        return call

    def restore() -> None:
        for name, original in originals.items():
            setattr(signal, name, original)

    for name in originals:
        setattr(signal, name, guarded(name))
    return restore


@contextmanager
def _handlers_kept_open() -> Iterator[None]:
    """Hide the existing handlers from `dictConfig`, which would close all that it can find."""
    registered: list[Any] = logging._handlerList  # type: ignore[attr-defined]  # noqa: SLF001
    named: Any = logging._handlers  # type: ignore[attr-defined]  # noqa: SLF001
    handlers, names = registered[:], dict(named)
    registered.clear()
    try:
        yield
    finally:
        registered[:0] = handlers
        named.update(names)


_State = tuple[int, bool, bool, list[logging.Handler], list[Any]]


def _snapshot() -> dict[logging.Logger, _State]:
    named = [
        logger
        for logger in list(logging.root.manager.loggerDict.values())
        if isinstance(logger, logging.Logger)
    ]
    return {
        logger: (
            logger.level,
            logger.disabled,
            logger.propagate,
            list(logger.handlers),
            list(logger.filters),
        )
        for logger in (logging.root, *named)
    }


def _restore(loggers: dict[logging.Logger, _State]) -> None:
    for logger, (level, disabled, propagate, handlers, filters) in loggers.items():
        if logger.level != level:
            logger.setLevel(level)
        logger.disabled = disabled
        logger.propagate = propagate
        if logger.handlers != handlers:
            logger.handlers[:] = handlers
        if logger.filters != filters:
            logger.filters[:] = filters
