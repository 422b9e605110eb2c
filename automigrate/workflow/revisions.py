"""Write revision files through Alembic: empty ones, merges, and pairs of plain SQL files."""

from __future__ import annotations

from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import RevisionContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError, rev_id as new_id

from automigrate.alembic_bridge.directory import config_for
from automigrate.alembic_bridge.guard import process_guard
from automigrate.errors import ConfigurationError, MultipleHeadsError, ScriptError
from automigrate.workflow.initialise import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.config import Config

    from automigrate.workflow.project import Project

__all__ = ["alembic_of", "merge", "new", "require_head", "told_by_alembic", "write"]

RUN_SQL = (
    'op.execute(sa.text(Path(__file__).with_suffix(".{way}.sql")'
    '.read_text("utf-8").replace(":", r"\\:")))'
)
"""Colons are escaped, because `text` takes them for parameters."""

SQL_FILES = {
    "up": "-- Upgrade: runs as a whole, in the revision's transaction.\n",
    "down": "-- Downgrade: undoes what the upgrade does.\n",
}


def new(
    project: Project,
    message: str,
    *,
    sql: bool = False,
    rev_id: str | None = None,
    head: str = "head",
    splice: bool = False,
    branch_label: str | None = None,
    depends_on: Sequence[str] = (),
    version_path: str | None = None,
) -> list[Path]:
    """Write an empty revision.

    Args:
        project: where.
        message: first line of its docstring, and part of its file name.
        sql: add a pair of SQL files beside it, which it runs.
        rev_id: its identifier, by default a random one.
        head: what it is built on.
        splice: allow a `head` that is none.
        branch_label: a label for the branch that begins with it.
        depends_on: revisions of other branches that must be applied before.
        version_path: which of several version locations to write it to.

    Returns:
        The files.

    Raises:
        MultipleHeadsError: there are several heads, and `head` names none of them.
        ScriptError: Alembic refuses, for example because `head` is none.
        ConfigurationError: the message is empty.
    """
    require_head(project, head, splice=splice)
    arguments: dict[str, Any] = {"imports": "from pathlib import Path\n"} if sql else {}
    if sql:
        arguments["upgrades"] = RUN_SQL.format(way="up")
        arguments["downgrades"] = RUN_SQL.format(way="down")
    script = write(
        project,
        {
            "message": message,
            "rev_id": rev_id,
            "head": head,
            "splice": splice,
            "branch_label": branch_label,
            "depends_on": list(depends_on) or None,
            "version_path": version_path,
        },
        arguments,
    )
    written = [script]
    for way, text in SQL_FILES.items() if sql else ():
        file = script.with_suffix(f".{way}.sql")
        file.write_text(text, encoding="utf-8")
        written.append(file)
    return written


def merge(project: Project, message: str | None = None, rev_id: str | None = None) -> Path | None:
    """Write the revision that joins all heads; `None` when there is one head at most.

    Raises:
        ScriptError: Alembic refuses.
    """
    heads = project.graph.heads
    if len(heads) < 2:  # noqa: PLR2004 - several
        return None
    given = {
        "message": message or f"merge {' and '.join(heads)}",
        "rev_id": rev_id,
        "head": list(heads),
    }
    return write(project, given, {})


def require_head(project: Project, head: str = "head", *, splice: bool = False) -> None:
    """Refuse to build on what is not the one head of the history, or one of its heads by name.

    Args:
        project: whose history it is.
        head: what is to be built on; `head` stands for the only one, `base` for nothing.
        splice: allow a revision that is no head.

    Raises:
        MultipleHeadsError: there are several, and `head` names none of them.
        ScriptError: it is no head, or no revision.
    """
    heads = project.graph.heads
    if head != "head":
        _, directory = alembic_of(project)
        with told_by_alembic(), process_guard(project.location.prepend_sys_path):
            found = directory.get_revisions(head)
        if not splice and not all(one.is_head for one in found):
            raise ScriptError(
                f"{head} is no head, and a revision on it would begin a branch. "
                f"The heads are: {', '.join(heads)}."
            )
    elif len(heads) > 1:
        raise MultipleHeadsError(
            heads=heads,
            files=[project.relative(project.graph[head].file) for head in heads],
            otherwise=f"name the one to build on: `--head {heads[0]}`",
        )


def write(project: Project, given: dict[str, Any], arguments: dict[str, Any]) -> Path:
    """Have Alembic write one revision file from the project's template.

    Args:
        project: where.
        given: what `alembic revision` was told.
        arguments: for the template.
    """
    if not str(given["message"]).strip():
        raise ConfigurationError("a revision needs a message: -m 'what it does'.")
    config, directory = alembic_of(project)
    wanted: dict[str, Any] = dict.fromkeys(
        ("rev_id", "splice", "branch_label", "version_path", "depends_on", "sql")
    )
    wanted |= {"head": "head", **{k: v for k, v in given.items() if v is not None}}
    wanted["rev_id"] = wanted["rev_id"] or new_id()
    with told_by_alembic(), process_guard(project.location.prepend_sys_path):
        context = RevisionContext(config, directory, wanted)
        context.template_args |= arguments
        script = next(iter(context.generate_scripts()))
    assert script is not None
    return Path(str(script.path))


def alembic_of(project: Project) -> tuple[Config, ScriptDirectory]:
    """Make Alembic's configuration and script directory, as its own command line would.

    A project without a template for revisions gets ours.
    """
    template = project.location.directory / "script.py.mako"
    if not template.exists():
        template.write_text(TEMPLATE, encoding="utf-8")
    config = config_for(
        project.location,
        lambda driver: f"{driver}://",
        Namespace(x=None, name="alembic", quiet=True),
    )
    with told_by_alembic():
        return config, ScriptDirectory.from_config(config)


@contextmanager
def told_by_alembic() -> Iterator[None]:
    """Translate Alembic's refusals."""
    try:
        yield
    except CommandError as error:
        raise ScriptError(f"Alembic refuses: {str(error).rstrip('.')}.") from error
