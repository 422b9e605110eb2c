"""The process is as it was before env.py ran, whatever it did."""

from __future__ import annotations

import asyncio
import io
import logging
import logging.config
import os
import sys
import threading
import warnings
from pathlib import Path

import pytest

from automigrate.alembic_bridge.guard import process_guard

INI = """
[loggers]
keys = root
[handlers]
keys =
[formatters]
keys =
[logger_root]
level = ERROR
handlers =
"""


def test_file_config_is_ignored_in_the_thread_of_env_py(tmp_path: Path) -> None:
    """It would disable the application's loggers even while env.py runs (H19)."""
    ini = tmp_path / "alembic.ini"
    ini.write_text(INI)
    logger = logging.getLogger("automigrate_test.shop")
    handlers = list(logging.root.handlers)
    with process_guard():
        logging.config.fileConfig(ini)
        assert not logger.disabled
        assert logging.root.handlers == handlers


def test_file_config_of_other_threads_works(tmp_path: Path) -> None:
    """The application may configure its logging meanwhile, and keeps what it configured."""
    other = logging.getLogger("automigrate_test.other")
    configuration = {"version": 1, "incremental": True, "loggers": {other.name: {"level": "INFO"}}}
    with process_guard():
        thread = threading.Thread(target=logging.config.dictConfig, args=(configuration,))
        thread.start()
        thread.join()
        assert other.level == logging.INFO
    logging.config.dictConfig({"version": 1, "incremental": True})  # ours again


def test_a_package_may_configure_logging_on_import() -> None:
    """It finds what it configured; the application's handlers stay open and come back."""
    stream = io.StringIO()
    ours = logging.StreamHandler(stream)
    closed: list[bool] = []
    ours.close = lambda: closed.append(True)  # type: ignore[method-assign]
    logger = logging.getLogger("automigrate_test.ours")
    logger.addHandler(ours)
    try:
        with process_guard():
            logging.config.dictConfig(
                {
                    "version": 1,
                    "handlers": {"task": {"class": "logging.NullHandler"}},
                    "loggers": {"automigrate_test.theirs": {"handlers": ["task"]}},
                }
            )
            assert [h.name for h in logging.getLogger("automigrate_test.theirs").handlers] == [
                "task"
            ]
        assert not closed
        assert not logger.disabled
        logger.warning("still here")
        assert stream.getvalue() == "still here\n"
    finally:
        logger.removeHandler(ours)


def test_loggers_are_put_back() -> None:
    """Levels, handlers, filters, propagation and the disabled flag."""
    logger = logging.getLogger("automigrate_test.loggers")
    logger.setLevel(logging.INFO)
    handler = logging.NullHandler()
    with process_guard():
        logger.setLevel(logging.CRITICAL)
        logger.disabled = True
        logger.propagate = False
        logger.addHandler(handler)
        logging.root.addHandler(handler)
    assert (logger.level, logger.disabled, logger.propagate) == (logging.INFO, False, True)
    assert handler not in logger.handlers
    assert handler not in logging.root.handlers


def test_path_environment_directory_and_warnings_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was removed or changed, not only what was added."""
    monkeypatch.setenv("AUTOMIGRATE_TEST_KEPT", "before")
    monkeypatch.setenv("AUTOMIGRATE_TEST_REMOVED", "before")
    before = (list(sys.path), dict(os.environ), Path.cwd(), list(warnings.filters))
    with process_guard(["/prepended"]):
        assert sys.path[0] == "/prepended"
        sys.path.append("/appended")
        os.environ["AUTOMIGRATE_TEST_KEPT"] = "after"
        os.environ["AUTOMIGRATE_TEST_ADDED"] = "after"
        del os.environ["AUTOMIGRATE_TEST_REMOVED"]
        os.chdir(tmp_path)
        warnings.simplefilter("ignore")
    assert (list(sys.path), dict(os.environ), Path.cwd(), list(warnings.filters)) == before


def test_hooks_are_put_back() -> None:
    """Captured warnings, a level that is disabled, a policy for event loops."""
    policy, show = asyncio.events._event_loop_policy, warnings.showwarning  # type: ignore[attr-defined]
    with process_guard():
        logging.captureWarnings(True)
        logging.disable(logging.CRITICAL)
        asyncio.events._event_loop_policy = object()  # type: ignore[attr-defined]
    assert logging._warnings_showwarning is None  # type: ignore[attr-defined]
    assert warnings.showwarning is show
    assert logging.root.manager.disable == logging.NOTSET
    assert asyncio.events._event_loop_policy is policy  # type: ignore[attr-defined]


def test_it_is_put_back_after_an_error() -> None:
    """An env.py that raises leaves nothing either."""
    before = list(sys.path)
    with pytest.raises(ZeroDivisionError), process_guard():  # noqa: PT012
        sys.path.insert(0, "/left")
        1 / 0  # noqa: B018
    assert sys.path == before
