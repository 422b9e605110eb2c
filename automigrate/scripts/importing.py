"""Reading the identifiers by running the scripts, through Alembic: the slow way that always works.

The only module here that imports Alembic, and only when the text of a script does not tell.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from automigrate.database.redaction import scrub
from automigrate.errors import BrokenHistoryError, ScriptImportError
from automigrate.scripts.lineage import Revision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from alembic.script import Script, ScriptDirectory

    from automigrate.scripts.location import ScriptLocation

__all__ = ["load"]


def load(location: ScriptLocation) -> list[Revision]:
    """Import every script as Alembic does and read its identifiers, in the order of the files.

    Raises:
        ScriptImportError: a script cannot be imported, or is no migration script.
        BrokenHistoryError: an identifier is not text, or a revision is built on itself.
    """
    from alembic.script.revision import RevisionError

    with _search_path(location.prepend_sys_path):
        try:
            return [_revision(script) for script in _scripts(location)]
        except RevisionError as error:
            raise BrokenHistoryError(f"{error}. Correct that script.") from error
        except (BrokenHistoryError, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as error:
            raise ScriptImportError(
                file=_file_at_fault(error, location),
                reason=scrub(f"{type(error).__name__}: {str(error).rstrip('.')}"),
            ) from error


def _scripts(location: ScriptLocation) -> Iterable[Script]:
    from alembic.script import ScriptDirectory

    directory: ScriptDirectory = ScriptDirectory(
        str(location.directory),
        version_locations=[str(path) for path in location.version_locations],
        sourceless=location.sourceless,
        recursive_version_locations=location.recursive,
    )
    # Not `walk_revisions`: it loses the order of the files, which decides the order of branches,
    # and it meets a broken history with a bare KeyError.
    return directory._load_revisions()  # noqa: SLF001  see above


def _revision(script: Script) -> Revision:
    return Revision(
        script.revision,
        _texts(script.down_revision, script),
        _texts(script.dependencies, script),
        # Alembic takes others too; nobody can name them, so they label nothing.
        tuple(label for label in _listed(script.branch_labels) if isinstance(label, str)),
        script.path,
        script.doc,
    )


def _texts(value: Any, script: Script) -> tuple[str, ...]:
    listed = _listed(value)
    for item in listed:
        if not isinstance(item, str):
            raise BrokenHistoryError(
                f"{script.path}: {item!r} among its identifiers is not text. Correct that script."
            )
    return listed


def _listed(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


@contextmanager
def _search_path(entries: tuple[str, ...]) -> Iterator[None]:
    """Put the configured entries first in `sys.path`, and take them away again."""
    added = [entry for entry in entries if entry not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for entry in added:
            with suppress(ValueError):  # a script took it away
                sys.path.remove(entry)


def _file_at_fault(error: BaseException, location: ScriptLocation) -> str:
    """Find the script whose code raised; the directory when Alembic itself refused."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename
    places = tuple(str(path.resolve()) for path in location.version_locations)
    raised_in = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return next((name for name in raised_in if name.startswith(places)), str(location.directory))
