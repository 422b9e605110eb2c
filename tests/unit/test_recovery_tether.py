"""A program ends with the process that started it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PARENT = """\
import os, subprocess, sys
from automigrate.recovery import tether

child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
print("started", flush=True)
child.wait()
"""
TETHERED = """\
import sys
from automigrate.recovery import tether

sys.exit(tether.main([sys.argv[1], "/bin/sleep", "300"]))
"""
WATCHED = """\
import sys
from automigrate.recovery import tether

sys.exit(tether._watch(int(sys.argv[1]), ["/bin/sleep", "300"]))
"""


@pytest.mark.parametrize("child", [TETHERED, WATCHED], ids=["by the kernel", "by watching"])
def test_it_ends_when_its_parent_is_killed(child: str) -> None:
    """After kill -9 of the parent nobody holds its output open any more."""
    with subprocess.Popen([sys.executable, "-c", PARENT, child], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        output, _ = parent.communicate(timeout=30)
        assert output == b""


def test_its_exit_code_is_the_programs() -> None:
    """As a program of its own it is in the way of nothing."""
    script = "import os, sys\nfrom automigrate.recovery import tether\n"
    for call in ("main([str(os.getppid()), *c])", "_watch(os.getppid(), c)"):
        code = f"{script}c = ['/bin/sh', '-c', 'exit 7']\nsys.exit(tether.{call})"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
