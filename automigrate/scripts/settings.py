"""The part of `alembic.ini` and `[tool.alembic]` that decides which scripts there are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path  # noqa: TC003  see `runtime-evaluated-decorators`
from typing import TYPE_CHECKING, Any, NoReturn

from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from configparser import ConfigParser

__all__ = ["AlembicSettings", "load_ini", "load_toml"]

SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}
LEGACY_VERSION_LOCATIONS = re.compile(r", *|(?: +)")
LEGACY_PREPEND_SYS_PATH = re.compile(r", *|(?: +)|\:")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlembicSettings:
    """What one configuration file says, or two of them together; `None` is not said.

    Attributes:
        ini_file: the `alembic.ini` read.
        toml_file: the `pyproject.toml` read.
        script_location: as written, after interpolation.
        version_locations: as written, after interpolation.
        recursive: `recursive_version_locations`.
        sourceless: `sourceless`.
        prepend_sys_path: as written, after interpolation.
    """

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
    import configparser

    parser = configparser.ConfigParser({"here": file.absolute().parent.as_posix()})
    try:
        parser.read(file, encoding="locale")
        return _from_parser(parser, file, section)
    except configparser.ParsingError as error:  # its text quotes lines, perhaps with a password
        lines = ", ".join(str(number) for number, _ in error.errors)
        raise ConfigurationError(f"{file} is no ini file: see line {lines}.") from error
    except configparser.Error as error:
        raise ConfigurationError(
            f"{file} cannot be read: {type(error).__name__} in section [{section}]. Correct it; a "
            "'%' that stands for itself is written '%%'."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {type(error).__name__}.") from error


def _from_parser(parser: ConfigParser, file: Path, section: str) -> AlembicSettings:
    def get(name: str) -> str | None:
        return parser.get(section, name, fallback=None)

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
