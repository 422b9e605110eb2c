"""What every command can be told, and where it is told: flag, environment, pyproject.toml.

`catalogue.SETTINGS` names every setting. Its name is the same everywhere: `--lock-timeout`,
`AUTOMIGRATE_LOCK_TIMEOUT`, and `lock-timeout` in `[tool.automigrate]`; the first of these three
that is given wins. Both readers of the command line (`plain` and click) hand their raw text to
`resolve`, so that they cannot disagree. Knows no click.
"""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from automigrate.cli.catalogue import BY_KEY, BY_NAME, Kind, Setting
from automigrate.errors import ConfigurationError
from automigrate.options import Options, OptionsInput
from automigrate.values import field, frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

__all__ = ["Flags", "Settings", "resolve", "seconds"]

Flags = dict[str, "str | tuple[str, ...]"]
"""What the command line gave: setting name → raw text, or all its texts where it repeats."""

EMBEDDED = "embedded:"
DEFAULT_GRACE = 20.0
DEFAULT_HOST = "0.0.0.0"  # noqa: S104 -- Kubernetes' probes come to the pod's address
LAST_PORT = 65535
NO_DATABASE = (
    "no database is named: give --database-url, or set AUTOMIGRATE_DATABASE_URL or DATABASE_URL "
    "(`embedded:PATH` asks for the server from the wheel)."
)


_OPTIONS = frozenset(Options.__dataclass_fields__)


@frozen
class Settings:
    """Everything one command was told, checked."""

    database: str | None = field(repr=False)
    """The URL to migrate through; holds the password."""
    scripts: str | None
    options: OptionsInput = field(repr=False)
    """Options that were given, as `Migrator` takes them."""
    grace: float = DEFAULT_GRACE
    """Seconds from the first signal until the running revision is aborted."""
    health_port: int | None = None
    health_host: str = DEFAULT_HOST
    termination_log: str | None = None
    log_format: str | None = None
    log_level: str = "info"
    models: str | None = None
    """What local work and CI compare the database with."""
    scratch: str = "auto"
    seed: str | None = None

    @property
    def url(self) -> str:
        """The database URL.

        Raises:
            ConfigurationError: none was given.
        """
        if self.database is None:
            raise ConfigurationError(NO_DATABASE)
        return self.database


class Given(NamedTuple):
    """A raw value, and where it was given."""

    setting: Setting
    value: Any
    source: str
    directory: Path | None
    """What a relative path is relative to; `None`: the working directory."""


def resolve(
    flags: Flags,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    *,
    required: Collection[str] = ("database_url",),
) -> Settings:
    """Put together what flags, environment and pyproject.toml say, and check it all at once.

    Args:
        flags: what the command line gave.
        environ: the environment; empty values count as not given.
        directory: where the search for pyproject.toml starts, upwards.
        required: settings without which the command cannot work.

    Raises:
        ConfigurationError: with every fault at once.
    """
    environ = os.environ if environ is None else environ
    faults: list[str] = []
    given = _from_pyproject(directory or Path.cwd(), faults)
    given |= _from_environment(environ)
    given |= {name: _from_flag(BY_NAME[name], value) for name, value in flags.items()}
    values: dict[str, Any] = {}
    for name, item in given.items():
        known = len(faults)
        value = _read(item, faults)
        if len(faults) == known:
            values[name] = value
    if "database_url" in required and given.keys().isdisjoint({"database_url", "migration_url"}):
        faults.append(NO_DATABASE)
    options = {name: value for name, value in values.items() if name in _OPTIONS}
    faults.extend(_refused(options))
    if faults:
        raise ConfigurationError(faults)
    return Settings(
        database=values.get("migration_url") or values.get("database_url"),
        scripts=values.get("script_location"),
        options=cast("OptionsInput", options),
        grace=values.get("grace", DEFAULT_GRACE),
        health_port=values.get("health_port"),
        health_host=values.get("health_host", DEFAULT_HOST),
        termination_log=values.get("termination_log"),
        log_format=values.get("log_format"),
        log_level=values.get("log_level", "info"),
        models=values.get("models"),
        scratch=values.get("scratch", "auto"),
        seed=values.get("seed"),
    )


def _refused(options: dict[str, Any]) -> Sequence[str]:
    try:
        Options.of(options)
    except ConfigurationError as error:
        return error.faults
    return ()


# -- the three places ------------------------------------------------------------------------------


def _from_flag(setting: Setting, value: str | tuple[str, ...]) -> Given:
    return Given(setting, value, setting.flag, None)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    given = {}
    for setting in BY_NAME.values():
        for variable in (setting.variable, *setting.also):
            if environ.get(variable):
                given[setting.name] = Given(setting, environ[variable], variable, None)
                break
    return given


def _from_pyproject(start: Path, faults: list[str]) -> dict[str, Given]:
    given = {}
    for path, table in _tables(start, faults):
        for key, value in table.items():
            setting = BY_KEY.get(key.replace("_", "-"))
            if setting is None:
                faults.append(f"{path}: [tool.automigrate] has an unknown key {_nearest(key)}")
                continue
            source = f"{setting.key} in {path}"
            given[setting.name] = Given(setting, value, source, path.parent)
        break
    return given


def _tables(start: Path, faults: list[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the `[tool.automigrate]` tables of the pyproject.toml files from here upwards."""
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if b"automigrate" not in content:  # most files; saves the import of tomllib
            continue
        import tomllib

        try:
            tool = tomllib.loads(content.decode()).get("tool", {})
        except ValueError as error:
            faults.append(f"{path} is not valid TOML: {error}.")
            return
        table = tool.get("automigrate")
        if isinstance(table, dict):
            yield path, table
        elif table is not None:
            faults.append(f"{path}: [tool.automigrate] must be a table.")


def _nearest(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), BY_KEY, n=1)
    return f"{key!r}; did you mean {near[0]!r}?" if near else f"{key!r}."


# -- reading values --------------------------------------------------------------------------------


def _read(given: Given, faults: list[str]) -> Any:
    value, kind = given.value, given.setting.kind
    if kind is Kind.REPEATED:
        return _repeated(given, faults)
    if kind in {Kind.SECONDS, Kind.SECONDS_OR_NONE}:
        return _duration(given, faults)
    if kind is Kind.COUNT:
        return _count(given, faults)
    if kind is Kind.PORT:
        return _port(given, faults)
    if not isinstance(value, str) or not value.strip():
        faults.append(f"{given.source} must be a text that is not empty.")
        return None
    if kind is Kind.CHOICE and value not in given.setting.choices:
        allowed = ", ".join(given.setting.choices)
        faults.append(f"{given.source}: {value!r} is not one of {allowed}.")
        return None
    return _located(value, kind, given.directory)


def _located(value: str, kind: Kind, directory: Path | None) -> str:
    if directory is None or directory == Path.cwd():
        return value
    if kind is Kind.DATABASE and value.startswith(EMBEDDED):
        return f"{EMBEDDED}{directory / value.removeprefix(EMBEDDED)}"
    if kind is Kind.PATH or (kind is Kind.SCRIPTS and ":" not in value):
        return str(directory / value)
    return value


def _repeated(given: Given, faults: list[str]) -> tuple[str, ...]:
    value = given.value
    if isinstance(value, str):  # one environment variable for all of them
        import shlex

        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            faults.append(f"{given.source} cannot be split into words: {error}.")
            return ()
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    faults.append(f"{given.source} must be a list of texts.")
    return ()


def _count(given: Given, faults: list[str]) -> int | None:
    text = str(given.value).strip()
    if not isinstance(given.value, bool) and re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII):
        return int(text)
    faults.append(f"{given.source}: {given.value!r} is not a whole number from 1.")
    return None


def _duration(given: Given, faults: list[str]) -> float | None:
    value = given.value
    if value == "none" and given.setting.kind is Kind.SECONDS_OR_NONE:
        return None
    try:
        if isinstance(value, str):
            return seconds(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except ValueError:
        pass
    faults.append(f"{given.source}: {value!r} is no duration; write 90, 90s, 10m or 1h30m.")
    return None


def _port(given: Given, faults: list[str]) -> int | None:
    with suppress(TypeError, ValueError):
        if not isinstance(given.value, bool | float) and 0 <= int(given.value) <= LAST_PORT:
            return int(given.value)
    faults.append(f"{given.source}: {given.value!r} is no port; write a number up to {LAST_PORT}.")
    return None


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)


def seconds(text: str) -> float:
    """Read a duration: `90` and `90s`, `1.5m`, `1h30m`, `500ms`.

    Raises:
        ValueError: the text is none.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    if not re.fullmatch(f"(?:{_PART.pattern})+", text, re.ASCII):
        raise ValueError(text)
    return math.fsum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
