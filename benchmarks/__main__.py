"""Measure automigrate beside other tools: `python -m benchmarks`.

`--quick` takes about a quarter of an hour on an idle machine and shows the picture; without it,
more than an hour. The results are written to `--output`, as Markdown and PNG.
"""

from __future__ import annotations

import argparse
import compileall
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.databases import Databases
from benchmarks.report import markdown, plot
from benchmarks.scenarios import SCENARIOS, Setup
from benchmarks.tools import ROOT, TOOLS


def main() -> None:
    """Read the command line and run."""
    options = _options()
    # As pip does for the other tools when it installs them; a checkout has no compiled modules, and
    # has none for ever where PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(ROOT / "automigrate", quiet=1)
    with (
        tempfile.TemporaryDirectory(prefix="automigrate-bench-") as root,
        Databases.on(options.database_url) as databases,
    ):
        setup = Setup(
            databases=databases,
            given_url=options.database_url,
            root=Path(root),
            sizes=options.sizes,
            large=options.large,
            rounds=options.rounds,
            replicas=options.replicas,
            tools=[tool for tool in TOOLS if not options.tools or tool.name in options.tools],
        )
        tables = []
        for name in options.only or SCENARIOS:
            begin = time.monotonic()
            tables.append(SCENARIOS[name](setup))
            sys.stderr.write(f"{name}: {time.monotonic() - begin:.0f} s\n")
        text = markdown(tables, databases.version())
        print(text)
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / "results.md").write_text(text)
            plot(tables, options.output / "results.png", databases.version())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small histories, few rounds")
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), help="only these scenarios")
    parser.add_argument("--tools", nargs="+", metavar="NAME", help="only these tools")
    parser.add_argument("--sizes", nargs="+", type=int, help="lengths of the histories")
    parser.add_argument("--large", type=int, help="the longest one, for starts with nothing to do")
    parser.add_argument("--rounds", type=int, help="how often everything is timed")
    parser.add_argument("--replicas", type=int, help="processes that start at once")
    parser.add_argument("--database-url", help="a server to use; by default one from the wheel")
    parser.add_argument("--output", type=Path, help="directory for results.md and results.png")
    options = parser.parse_args()
    quick = options.quick
    options.sizes = options.sizes or ([10, 100] if quick else [10, 100, 1000])
    options.large = options.large or (1000 if quick else 10_000)
    options.rounds = options.rounds or (3 if quick else 11)
    options.replicas = options.replicas or (20 if quick else 100)
    return options


if __name__ == "__main__":
    main()
