"""Leave the application as it was: logging, warning filters, sys.path, environment, directory.

A stock env.py calls `logging.config.fileConfig`, which disables the application's loggers, sets
the root logger to WARNING and replaces its handlers (H19). The call is ignored when it comes from
the thread that runs env.py; whatever else env.py and the scripts change is put back afterwards.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["process_guard"]

_CONFIGURERS = ("fileConfig", "dictConfig")


@contextmanager
def process_guard(prepend_sys_path: Sequence[str] = ()) -> Iterator[None]:
    """Undo at the end what the code inside changed in process-wide state.

    Must be entered in the thread that runs env.py.

    Args:
        prepend_sys_path: what the configuration puts first in `sys.path`, for the code inside.
    """
    paths, directory, filters = list(sys.path), Path.cwd(), list(warnings.filters)
    variables = dict(os.environ)
    loggers = _snapshot()
    restore_configurers = _ignore_configurers(threading.get_ident())
    sys.path[:0] = prepend_sys_path
    try:
        yield
    finally:
        restore_configurers()
        _restore(loggers)
        if sys.path != paths:
            sys.path[:] = paths
        if warnings.filters != filters:
            warnings.filters[:] = filters  # type: ignore[index]  # a list at run time
        _restore_environment(variables)
        with suppress(OSError):
            if Path.cwd() != directory:
                os.chdir(directory)


def _restore_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    for name, value in variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _ignore_configurers(thread: int) -> Callable[[], None]:
    originals = {name: getattr(logging.config, name) for name in _CONFIGURERS}

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def configure(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == thread:
                return None
            return original(*args, **kwargs)

        return configure

    for name, original in originals.items():
        setattr(logging.config, name, guarded(original))

    def restore() -> None:
        for name, original in originals.items():
            setattr(logging.config, name, original)

    return restore


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
