"""squawk's rules as a second opinion, where its program is installed (extra `lint`)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError
from automigrate.workflow.findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automigrate.workflow.verify import RevisionSeen

__all__ = ["program", "second_opinion"]

NOT_OURS = (
    "ban-char-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamp-tz",
    "require-lock-timeout",
    "require-statement-timeout",
    "require-timeout-settings",
    "transaction-nesting",
)
"""Matters of taste, and what automigrate's own transactions and time-outs settle."""
TIMEOUT = 60.0
PROOF = "_is_not_null"
"""How the check ends that `generate` proves NOT NULL with."""


def program() -> str | None:
    """Find squawk: beside this interpreter, or on the PATH."""
    beside = Path(sys.executable).with_name("squawk")
    return str(beside) if beside.is_file() else shutil.which("squawk")


def second_opinion(seen: Sequence[RevisionSeen], *, pg_version: str = "15.0") -> Iterator[Finding]:
    """Have squawk read the SQL that the revisions sent; nothing without its program.

    Raises:
        ConfigurationError: squawk cannot be understood.
    """
    found = program()
    if found is None:
        return
    for revision in seen:
        for outside in (False, True):
            statements = [
                statement.sql.rstrip(";")
                for statement in revision.statements
                if statement.in_transaction is not outside and not _reads(statement.sql)
            ]
            if statements:
                text = ";\n".join(statements) + ";\n"
                yield from _findings(found, revision, text, pg_version, outside=outside)


def _findings(
    found: str, revision: RevisionSeen, text: str, pg_version: str, *, outside: bool
) -> Iterator[Finding]:
    command = [found, "--reporter", "json", "--pg-version", pg_version]
    command += [part for rule in NOT_OURS for part in ("--exclude", rule)]
    if not outside:
        command.append("--assume-in-transaction")
    done = subprocess.run(  # noqa: S603 - squawk itself, without a shell
        [*command, "--stdin-filepath", revision.file],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    try:
        reported = json.loads(done.stdout or "[]")
    except ValueError as error:
        raise ConfigurationError(
            f"{found} does not answer in JSON: {done.stderr.strip()[:200]}. Update it with "
            "`pip install --upgrade squawk-cli`."
        ) from error
    for item in reported:
        statement = " ".join(text.splitlines()[item["line"]].split())
        if item["rule_name"] == "ban-drop-constraint" and statement.rstrip(';"').endswith(PROOF):
            continue  # NOT NULL is set by then, which guarantees the same
        yield Finding(
            rule=f"squawk/{item['rule_name']}",
            level=Level.WARNING,
            message=f"revision {revision.revision}: {item['message']} `{statement[:77]}`",
            remedy=item.get("help") or "",
            revision=revision.revision,
            file=revision.file,
        )


def _reads(statement: str) -> bool:
    return re.match(r"\s*(select|show|with)\b", statement, re.IGNORECASE) is not None
