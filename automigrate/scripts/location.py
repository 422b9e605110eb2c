"""Where the migration scripts lie, and what of Alembic's configuration decides how they are read.

Alembic's own rules for `alembic.ini` and `[tool.alembic]` in `pyproject.toml`, without Alembic.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError, ScriptError, ScriptImportError
from automigrate.options import is_prepared
from automigrate.scripts.settings import AlembicSettings, load_ini, load_toml, settings_of
from automigrate.scripts.stamp import Remembered, stamp
from automigrate.values import frozen

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["ScriptLocation", "locate"]


@frozen
class ScriptLocation:
    """A script directory and how to read it.

    Attributes:
        directory: Alembic's script directory, which holds `versions/` and usually `env.py`.
        version_locations: the directories of the scripts.
        recursive: whether their subdirectories count.
        sourceless: whether compiled scripts without a source count.
        prepared: the `Config` that the program has made for it, instead of files.
        config_file: the `alembic.ini` that belongs to it.
        toml_file: the `pyproject.toml` with `[tool.alembic]` that belongs to it.
        ini_section: section of `config_file`.
        env_file: `env.py`, if there is one.
        prepend_sys_path: entries that scripts and env.py expect in `sys.path`.
    """

    directory: Path
    version_locations: tuple[Path, ...]
    recursive: bool = False
    sourceless: bool = False
    prepared: Config | None = None
    config_file: Path | None = None
    toml_file: Path | None = None
    ini_section: str = "alembic"
    env_file: Path | None = None
    prepend_sys_path: tuple[str, ...] = ()


def locate(
    scripts: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | Config | None = None,
    cwd: Path | None = None,
    ini_section: str = "alembic",
) -> ScriptLocation:
    """Find the script directory and the configuration that belongs to it.

    Args:
        scripts: the script directory; or ``package:directory`` inside an importable package, which
            imports the package but none of the scripts; or `None` to take `script_location` from
            the configuration.
        config: an `alembic.ini` or `pyproject.toml`. By default those of `cwd`; beside an explicit
            script directory also an `alembic.ini` in it or next to it. One that was not named
            counts only if its `script_location` is this directory. Or Alembic's `Config`, as a
            program has prepared it, with its section.
        cwd: where relative paths begin; by default the current directory.
        ini_section: section of `alembic.ini`, as Alembic's ``--name``.

    Raises:
        ConfigurationError: nothing was found, or `scripts` and `config` contradict each other.
        ScriptError: the script directory, or every version location, does not exist.
        ScriptImportError: the package of ``package:directory`` raised on import.
    """
    start = Path.cwd() if cwd is None else cwd.absolute()
    if is_prepared(config):
        scripts = None if scripts is None else os.fspath(scripts)
        return _located(scripts, config, start, config.config_ini_section)
    question = (
        None if scripts is None else os.fspath(scripts),
        None if config is None else os.fspath(config),
        start,
        ini_section,
    )
    known = _REMEMBERED.recall(question)
    if known is None:
        known = _located(*question)
        _remember(question, known)
    return known


_Question = tuple[str | None, str | None, Path, str]
_REMEMBERED: Remembered[ScriptLocation] = Remembered()


def _remember(question: _Question, found: ScriptLocation) -> None:
    """Keep what was found as long as no file changes that was read or looked for."""
    scripts, config, start, _ = question
    directory = found.directory
    used = (found.config_file, found.toml_file, found.env_file)
    if (scripts is not None and ":" in scripts) or not all(
        file is None or file.exists() for file in used
    ):
        return  # in a package, which an import hook may move; or gone in this moment
    places = (start, directory.parent, directory)
    paths = [f"{place}/{name}" for place in places for name in ("alembic.ini", "pyproject.toml")]
    paths += [str(start / config)] if config is not None else []
    paths += [str(path) for path in (directory, *found.version_locations)]
    paths.append(f"{directory}/env.py")
    _REMEMBERED.keep(question, tuple(dict.fromkeys(paths)), stamp(paths), found)


def _located(
    scripts: str | None, config: str | Config | None, start: Path, ini_section: str
) -> ScriptLocation:
    named = _named_config(config, start, ini_section)
    if scripts is None:
        settings = named or _config_in(start, ini_section)
        if settings is None or settings.script_location is None:
            raise ConfigurationError(_nothing_found(config, start))
        directory = _directory(settings.script_location, start, settings.here)
    else:
        directory = _directory(scripts, start)
        settings = named or _config_beside(directory, start, ini_section)
        if named is not None and not _points_to(named, directory, start):
            raise ConfigurationError(
                f"{_name_of(config)} has script_location {named.script_location!r}, and the script "
                f"directory given is {directory}. Give one of them, or make them the same."
            )
    return _checked(directory, settings or AlembicSettings(), start, ini_section)


def _checked(
    directory: Path, settings: AlembicSettings, start: Path, ini_section: str
) -> ScriptLocation:
    if not directory.is_dir():
        raise ScriptError(
            f"the script directory {directory} does not exist. If it is missing from the wheel or "
            "the image, include it as package data; otherwise correct the path."
        )
    versions = tuple(
        _directory(location, start, settings.here) for location in settings.version_locations
    ) or (directory / "versions",)
    if not any(path.is_dir() for path in versions):
        raise ScriptError(_no_versions(directory, versions))
    env_file = directory / "env.py"
    return ScriptLocation(
        directory=directory,
        version_locations=versions,
        recursive=settings.recursive,
        sourceless=settings.sourceless,
        prepared=settings.prepared,
        config_file=settings.ini_file,
        toml_file=settings.toml_file,
        ini_section=ini_section,
        env_file=env_file if env_file.is_file() else None,
        prepend_sys_path=tuple(
            os.path.normpath(start / entry) for entry in settings.prepend_sys_path
        ),
    )


def _no_versions(directory: Path, versions: tuple[Path, ...]) -> str:
    listed = ", ".join(str(path) for path in versions)
    if directory.name == "versions":
        return f"{listed} does not exist. Name the directory above it: {directory.parent}."
    return (
        f"the version location {listed} does not exist. If it is missing from the wheel or the "
        "image, include it as package data; otherwise name the directory that holds `versions`."
    )


def _nothing_found(config: str | Config | None, start: Path) -> str:
    if config is not None:
        return f"{_name_of(config)} has no script_location. Add one, or name the script directory."
    return (
        f"no script directory was given, and neither alembic.ini nor [tool.alembic] in "
        f"pyproject.toml in {start} names one. Name the script directory, for example "
        "'migrations', or make one with `automigrate init`."
    )


def _name_of(config: str | Config | None) -> str:
    return "the Config given" if is_prepared(config) else str(config)


def _named_config(config: str | Config | None, start: Path, section: str) -> AlembicSettings | None:
    if config is None:
        return None
    if is_prepared(config):
        return settings_of(config)
    file = start / config
    if not file.is_file():
        raise ConfigurationError(f"the configuration file {file} does not exist. Correct its path.")
    if file.suffix == ".toml":
        return load_toml(file)
    return load_ini(file, section).over(_toml_in(start))


def _config_in(start: Path, section: str) -> AlembicSettings | None:
    """Read what Alembic's command line would read in this directory; the ini goes first."""
    ini = start / "alembic.ini"
    toml = _toml_in(start)
    return load_ini(ini, section).over(toml) if ini.is_file() else toml


def _toml_in(start: Path) -> AlembicSettings | None:
    toml = start / "pyproject.toml"
    return load_toml(toml) if toml.is_file() and b"tool.alembic" in toml.read_bytes() else None


def _config_beside(directory: Path, start: Path, section: str) -> AlembicSettings | None:
    """Find the configuration that points to this directory: in cwd, next to it, or in it."""
    for place in dict.fromkeys((start, directory.parent)):
        settings = _config_in(place, section)
        if settings is None or settings.script_location is None:
            continue
        if _points_to(settings, directory, start):
            return settings
    inside = directory / "alembic.ini"  # Flask-Migrate's, without script_location
    if inside.is_file():
        settings = load_ini(inside, section)
        if _points_to(settings, directory, start):
            return settings
    return None


def _points_to(settings: AlembicSettings, directory: Path, start: Path) -> bool:
    if settings.script_location is None:
        return True
    try:
        pointed = _directory(settings.script_location, start, settings.here)
    except (ConfigurationError, ScriptImportError):
        return False
    return os.path.realpath(pointed) == os.path.realpath(directory)


def _directory(location: str, start: Path, here: Path | None = None) -> Path:
    """Make an absolute path of a location as Alembic writes them.

    A relative path begins at the current directory, as in Alembic; if it leads nowhere from there,
    at the configuration file that names it.
    """
    if ":" in location and not Path(location).is_absolute():
        return _in_package(location)
    path = Path(os.path.normpath(start / location))
    if here is not None and not path.exists() and (here / location).exists():
        return Path(os.path.normpath(here / location))
    return path


def _in_package(location: str) -> Path:
    """Find ``package:directory``; from a zipped package it is unpacked until the process ends."""
    import atexit
    from contextlib import ExitStack
    from importlib import resources

    package, *parts = location.split(":")
    try:
        found = resources.files(package).joinpath(*parts)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the script location {location!r} names package {package!r}, which cannot be "
            f"imported: {error}. Install it, or correct the name."
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ScriptImportError(file=package, reason=reason) from error
    if isinstance(found, Path):
        return found.absolute()
    unpacked = ExitStack()
    atexit.register(unpacked.close)
    try:
        return unpacked.enter_context(resources.as_file(found)).absolute()
    except OSError as error:
        raise ScriptError(
            f"the script location {location!r} cannot be read from its package: {error}. "
            "Include it as package data; in a zipped package it needs Python 3.12."
        ) from error
