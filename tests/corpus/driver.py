"""Run Alembic and automigrate on a project, in a process of its own: `python driver.py RESULTS < steps`.

Reads a JSON list of steps and writes a JSON list of what came of them to a file. Between two steps the
project's own modules are forgotten, because they may remember the database of the step before.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Take the steps from standard input."""
    steps = json.load(sys.stdin)
    sys.path[0] = os.getcwd()  # as `python -m alembic` has it
    known = set(sys.modules)
    results = []
    for step in steps:
        os.environ.update(step.get("environment", {}))
        for name, module in list(sys.modules.items()):
            origin = getattr(module, "__file__", None) or ""
            if name not in known and Path.cwd() in Path(origin).parents:
                del sys.modules[name]
        importlib.invalidate_caches()
        try:
            results.append(globals()[step["tool"]](step))
        except BaseException as error:  # noqa: BLE001 - told to the test
            results.append({"error": f"{type(error).__name__}: {error}"})
            traceback.print_exc(file=sys.stderr)
    Path(sys.argv[1]).write_text(json.dumps(results))


def alembic(step: dict[str, Any]) -> dict[str, Any]:
    """Run plain Alembic as its command line does."""
    from alembic.config import CommandLine

    arguments = [f"-x{item}" for item in step.get("x_arguments", ())]
    arguments += ["--raiseerr", *step["options"], step["command"], step["target"]]
    with _application_context():
        CommandLine().main(arguments)
    return {}


def automigrate(step: dict[str, Any]) -> dict[str, Any]:
    """Run automigrate.upgrade, inside of an application context where the project has one."""
    import automigrate as library

    def upgrade() -> library.UpgradeReport:
        return library.upgrade(
            step["url"],
            target=step["target"],
            config=step.get("config"),
            ini_section=step["ini_section"],
            x_arguments=step.get("x_arguments", ()),
            timeout=60.0,
        )

    with _application_context():
        report = upgrade()
    return {
        "outcome": report.outcome.value,
        "applied": [item.revision for item in report.applied],
        "heads": list(report.heads),
    }


def _application_context() -> Any:
    from contextlib import nullcontext

    if not Path("flask_app.py").exists():
        return nullcontext()
    return importlib.import_module("flask_app").app.app_context()


if __name__ == "__main__":
    main()
