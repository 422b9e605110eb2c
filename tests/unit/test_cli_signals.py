"""SIGTERM and Ctrl-C while a command runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from automigrate.cli.signals import SIGNALS, stopped_by_signals

LONG = 60.0


class Run:
    """A run that writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stopped = threading.Event()
        self.aborted = threading.Event()

    def stop(self) -> None:
        """Write it down."""
        self.asked.append("stop")
        self.stopped.set()

    def abort(self) -> None:
        """Write it down."""
        self.asked.append("abort")
        self.aborted.set()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_stops(number: signal.Signals) -> None:
    """One signal asks for a stop at the next boundary, and nothing else while there is grace."""
    run = Run()
    with stopped_by_signals(run, LONG):
        signal.raise_signal(number)
        assert run.stopped.wait(LONG)
    assert run.asked == ["stop"]


def test_the_second_signal_aborts() -> None:
    """Who signals again does not want to wait."""
    run = Run()
    with stopped_by_signals(run, LONG):
        signal.raise_signal(signal.SIGTERM)
        assert run.stopped.wait(LONG)
        signal.raise_signal(signal.SIGINT)
        assert run.aborted.wait(LONG)
    assert run.asked == ["stop", "abort"]


@pytest.mark.parametrize("grace", [0.0, 0.05])
def test_the_end_of_the_grace_aborts(grace: float) -> None:
    """A run that does not come to a boundary in time is ended."""
    run = Run()
    start = time.monotonic()
    with stopped_by_signals(run, grace):
        signal.raise_signal(signal.SIGTERM)
        assert run.aborted.wait(LONG)
    assert time.monotonic() - start >= grace
    assert run.asked == ["stop", "abort"]


def test_other_signals_mean_nothing() -> None:
    """A signal that belongs to somebody else stops nothing."""
    run = Run()
    seen = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.set())
    try:
        with stopped_by_signals(run, LONG):
            signal.raise_signal(signal.SIGUSR1)
            assert seen.wait(LONG)
            signal.raise_signal(signal.SIGTERM)
            assert run.stopped.wait(LONG)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert run.asked == ["stop"]


def test_everything_is_as_before_afterwards() -> None:
    """Handlers, wake-up descriptor and threads are those of before, after an error too."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    threads = threading.active_count()
    with pytest.raises(ValueError, match="x"), stopped_by_signals(Run(), LONG):
        raise ValueError("x")
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1


def test_a_thread_leaves_signals_alone() -> None:
    """Only the main thread can own signals; elsewhere a command just runs."""
    seen: list[object] = []

    def command() -> None:
        with stopped_by_signals(Run(), LONG):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_the_third_signal_ends_the_process() -> None:
    """A run that does not even react to an abort can still be ended, with the same code."""
    code = (
        "import signal, sys, time; from automigrate.cli.signals import stopped_by_signals\n"
        "class Deaf:\n"
        "    def stop(self): print('stop', flush=True)\n"
        "    def abort(self): print('abort', flush=True)\n"
        "with stopped_by_signals(Deaf(), 60):\n"
        "    print('ready', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with process:
        assert process.stdout is not None
        for expected in ("ready", "stop", "abort"):
            assert process.stdout.readline() == f"{expected}\n"
            process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == 9
