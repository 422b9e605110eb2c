"""The part of `alembic.ini` and `[tool.alembic]` that decides which scripts there are."""

from __future__ import annotations

import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from automigrate.errors import ConfigurationError
from automigrate.values import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.config import Config

__all__ = ["AlembicSettings", "load_ini", "load_toml", "settings_of"]

SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}
LEGACY_VERSION_LOCATIONS = re.compile(r", *|(?: +)")
READ = (
    "path_separator",
    "prepend_sys_path",
    "recursive_version_locations",
    "script_location",
    "sourceless",
    "version_locations",
    "version_path_separator",
)
LEGACY_PREPEND_SYS_PATH = re.compile(r", *|(?: +)|\:")


@frozen
class AlembicSettings:
    """What one configuration says, or two of them together; `None` is not said.

    Attributes:
        prepared: the `Config` read, where it was no file.
        ini_file: the `alembic.ini` read.
        toml_file: the `pyproject.toml` read.
        script_location: as written, after interpolation.
        version_locations: as written, after interpolation.
        recursive: `recursive_version_locations`.
        sourceless: `sourceless`.
        prepend_sys_path: as written, after interpolation.
    """

    prepared: Config | None = None
    ini_file: Path | None = None
    toml_file: Path | None = None
    script_location: str | None = None
    version_locations: tuple[str, ...] = ()
    recursive: bool = False
    sourceless: bool = False
    prepend_sys_path: tuple[str, ...] = ()

    @property
    def file(self) -> Path | None:
        """The file to name in a text."""
        return self.ini_file or self.toml_file

    @property
    def here(self) -> Path | None:
        """The directory of that file."""
        return self.file.parent if self.file else None

    def over(self, other: AlembicSettings | None) -> AlembicSettings:
        """Take from the other what is not said here."""
        if other is None:
            return self
        chosen = {
            field.name: getattr(self, field.name) or getattr(other, field.name)
            for field in fields(self)
        }
        return AlembicSettings(**chosen)


def load_ini(file: Path, section: str = "alembic") -> AlembicSettings:
    """Read a section of `alembic.ini`; a file without that section says nothing.

    Raises:
        ConfigurationError: the file cannot be read, or a value is not allowed.
    """
    here = file.absolute().parent.as_posix()
    try:
        text = file.read_text(encoding="locale")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {type(error).__name__}.") from error
    values = _plain_values(text, section, here)
    if values is not None:
        return _from_values(values.get, file)

    import configparser

    parser = configparser.ConfigParser({"here": here})
    try:
        parser.read_string(text, str(file))
        return _from_values(lambda name: parser.get(section, name, fallback=None), file)
    except configparser.ParsingError as error:  # its text quotes lines, perhaps with a password
        lines = ", ".join(str(number) for number, _ in error.errors)
        raise ConfigurationError(f"{file} is no ini file: see line {lines}.") from error
    except configparser.Error as error:
        raise ConfigurationError(
            f"{file} cannot be read: {type(error).__name__} in section [{section}]. Correct it; a "
            "'%' that stands for itself is written '%%'."
        ) from error


def settings_of(config: Config) -> AlembicSettings:
    """Read what a program has prepared, which may have set options that stand in no file.

    Raises:
        ConfigurationError: a value is not allowed.
    """
    parser, section = config.file_config, config.config_ini_section
    ini, toml = config.config_file_name, getattr(config, "toml_file_name", None)

    def get(name: str) -> str | None:
        return parser.get(section, name, fallback=None)

    said = _from_values(get, Path(ini or "the Config given"))
    settings = replace(said, prepared=config, ini_file=Path(ini).absolute() if ini else None)
    return settings.over(load_toml(Path(toml)) if toml and Path(toml).is_file() else None)


def _plain_values(text: str, section: str, here: str) -> dict[str, str] | None:
    """Read a section as `alembic init` writes it; `None`: only ConfigParser can tell.

    Importing and running ConfigParser would cost more than the look at the database.
    """
    values: dict[str, str] = {}
    sections: set[str] = set()
    inside = False
    for line in text.split("\n"):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if line[0] == "[":
            name, end, rest = stripped[1:].partition("]")
            if not end or rest or name == "DEFAULT" or name in sections:
                return None
            sections.add(name)
            inside = name == section
        elif inside:
            key, equals, value = stripped.partition("=")
            name = key.rstrip().lower()
            # An indented line continues the value before it.
            if line[0].isspace() or not equals or not name or ":" in key or name in values:
                return None
            values[name] = value.lstrip().replace("%(here)s", here)
    return None if any("%" in values.get(name, "") for name in READ) else values


def _from_values(get: Callable[[str], str | None], file: Path) -> AlembicSettings:
    return AlembicSettings(
        ini_file=file,
        script_location=get("script_location"),
        version_locations=_split(
            get("version_locations"),
            get("path_separator") or get("version_path_separator"),
            LEGACY_VERSION_LOCATIONS,
            file,
        ),
        recursive=get("recursive_version_locations") == "true",
        sourceless=get("sourceless") == "true",
        prepend_sys_path=_split(
            get("prepend_sys_path"), get("path_separator"), LEGACY_PREPEND_SYS_PATH, file
        ),
    )


def _split(
    value: str | None, separator: str | None, legacy: re.Pattern[str], file: Path
) -> tuple[str, ...]:
    if not value:
        return ()
    if separator is None:
        parts = legacy.split(value)
    elif separator in SEPARATORS:
        parts = value.split(SEPARATORS[separator])
    else:
        raise ConfigurationError(
            f"{file}: path_separator is {separator!r}, and Alembic knows {', '.join(SEPARATORS)}."
        )
    return tuple(part.strip() for part in parts if part.strip())


def load_toml(file: Path) -> AlembicSettings:
    """Read `[tool.alembic]`; a file without it says nothing.

    Raises:
        ConfigurationError: the file cannot be read, or a value is not allowed.
    """
    import tomllib

    try:
        with file.open("rb") as content:
            section = tomllib.load(content).get("tool", {}).get("alembic", {})
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}.") from error
    return _from_section(_Section(section, file), file)


def _from_section(section: _Section, file: Path) -> AlembicSettings:
    return AlembicSettings(
        toml_file=file if section.said else None,
        script_location=next(iter(section.texts("script_location")), None),
        version_locations=section.texts("version_locations"),
        recursive=section.switch("recursive_version_locations"),
        sourceless=section.switch("sourceless"),
        prepend_sys_path=section.texts("prepend_sys_path"),
    )


class _Section:
    """`[tool.alembic]` with its types checked and ``%(here)s`` filled in."""

    def __init__(self, said: dict[str, Any], file: Path) -> None:
        self.said = said
        self._file = file

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.said.get(name, [])
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            self._refuse(name, "text or a list of texts")
        here = {"here": self._file.absolute().parent.as_posix()}
        try:
            return tuple(item % here for item in listed)
        except (KeyError, TypeError, ValueError):
            self._refuse(name, "text in which '%(here)s' may stand and any other '%' is '%%'")

    def switch(self, name: str) -> bool:
        value = self.said.get(name, False)
        if not isinstance(value, bool):
            self._refuse(name, "true or false")
        return value

    def _refuse(self, name: str, expected: str) -> NoReturn:
        raise ConfigurationError(f"{self._file}: {name} in [tool.alembic] must be {expected}.")
