"""The application's models: import them by name and take their metadata."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData

from automigrate.errors import ConfigurationError, ScriptImportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["import_object", "load_models", "search_path"]


def load_models(names: str, *, paths: Sequence[str] = ()) -> tuple[MetaData, ...]:
    """Import ``package.module:Base``, several separated by commas.

    Each may be a `MetaData`, or anything with a `metadata` attribute: a declarative base, the
    `db` of Flask-SQLAlchemy, SQLModel.

    Args:
        names: what to import.
        paths: put in front of `sys.path`, which already finds the working directory and `src`.

    Raises:
        ConfigurationError: nothing is called like this, or it has no metadata.
        ScriptImportError: the module raised.
    """
    return tuple(
        _metadata(name.strip(), import_object(name.strip(), paths=paths))
        for name in names.split(",")
        if name.strip()
    )


def import_object(name: str, *, paths: Sequence[str] = ()) -> Any:
    """Import ``package.module:attribute``.

    Raises:
        ConfigurationError: the name has another form, or leads nowhere.
        ScriptImportError: the module raised.
    """
    module_name, separator, attribute = name.partition(":")
    if not separator or not module_name or not attribute:
        raise ConfigurationError(
            f"{name!r} names no object: write package.module:name, for example app.models:Base."
        )
    with search_path(paths):
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if module_name == missing or module_name.startswith(f"{missing}."):
                raise ConfigurationError(
                    f"{name!r}: there is no module {missing!r}. Install the package, or run the "
                    "command in the directory where it can be imported."
                ) from error
            raise _raised(module_name, error) from error
        except Exception as error:
            raise _raised(module_name, error) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{name!r}: {module_name} has no {attribute!r}.")
        found = getattr(found, part)
    return found


@contextmanager
def search_path(entries: Sequence[str] = ()) -> Iterator[None]:
    """Find modules in the working directory and in `src`, as well as in the entries."""
    here = Path.cwd()
    wanted = [*entries, str(here), *([str(here / "src")] if (here / "src").is_dir() else [])]
    added = [entry for entry in wanted if entry not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for entry in added:
            if entry in sys.path:
                sys.path.remove(entry)


def _metadata(name: str, found: Any) -> MetaData:
    metadata = found if isinstance(found, MetaData) else getattr(found, "metadata", None)
    if not isinstance(metadata, MetaData):
        raise ConfigurationError(
            f"{name!r}, a {type(found).__name__}, has no metadata: name a declarative base or a "
            "MetaData."
        )
    return metadata


def _raised(module: str, error: Exception) -> ScriptImportError:
    return ScriptImportError(file=module, reason=f"{type(error).__name__}: {error}")
