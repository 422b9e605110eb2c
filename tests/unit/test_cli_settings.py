"""Settings of the command line: where they come from, how they are read, who wins."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from automigrate.cli.catalogue import SETTINGS
from automigrate.cli.settings import Settings, resolve, seconds
from automigrate.errors import ConfigurationError
from automigrate.options import Options

ROOT = Path(__file__).parents[2]
URL = "postgresql://app:hunter22@db/app"
NAMED = {"AUTOMIGRATE_DATABASE_URL": URL}


def _pyproject(directory: Path, text: str) -> Path:
    path = directory / "pyproject.toml"
    path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("10m", 600.0),
        ("1.5m", 90.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1d", 86400.0),
        ("0", 0.0),
        (" 5s ", 5.0),
    ],
)
def test_a_duration_is_read(text: str, expected: float) -> None:
    """Durations are plain seconds or numbers with units."""
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "s", "-5", "5 s", "1e3", "nan", "inf", "5x", "m5", "٣", "1_0"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Anything but digits and known units is no duration."""
    with pytest.raises(ValueError, match=r".*"):
        seconds(text)


@given(st.floats(min_value=0, max_value=1e6).map(lambda value: round(value, 3)))
def test_seconds_are_read_as_written(value: float) -> None:
    """A number with up to three decimals means itself."""
    assert seconds(f"{value:.3f}") == pytest.approx(value)
    assert seconds(f"{value:.3f}s") == pytest.approx(value)


def test_every_option_can_be_set() -> None:
    """No option of the library is missing on the command line."""
    settable = {setting.name for setting in SETTINGS}
    assert {field.name for field in fields(Options)} <= settable


def test_names_are_unique() -> None:
    """No two settings share a flag or a variable."""
    keys = [setting.key for setting in SETTINGS]
    assert len(set(keys)) == len(keys)


def test_a_flag_wins_over_the_environment_and_the_file(tmp_path: Path) -> None:
    """Precedence is flag, environment, pyproject.toml."""
    directory = _pyproject(tmp_path, '[tool.automigrate]\ntimeout = "3s"\ntarget = "a"\ngrace = 3')
    environ = {**NAMED, "AUTOMIGRATE_TIMEOUT": "2s", "AUTOMIGRATE_TARGET": "b"}
    settings = resolve({"timeout": "1s"}, environ, directory)
    assert settings.options == {"timeout": 1.0, "target": "b"}
    assert settings.grace == 3.0


def test_the_own_variable_wins_over_database_url(tmp_path: Path) -> None:
    """DATABASE_URL counts only where AUTOMIGRATE_DATABASE_URL is not set."""
    both = {"DATABASE_URL": "postgresql://other/x", **NAMED}
    assert resolve({}, both, tmp_path).url == URL
    assert resolve({}, {"DATABASE_URL": URL}, tmp_path).url == URL


def test_the_migration_url_wins_over_the_database_url(tmp_path: Path) -> None:
    """A direct URL for migrating replaces the one through a pooler, from wherever it comes."""
    environ = {"AUTOMIGRATE_MIGRATION_URL": "postgresql://direct/app"}
    settings = resolve({"database_url": "postgresql://pooler/app"}, environ, tmp_path)
    assert settings.url == "postgresql://direct/app"
    assert resolve({}, environ, tmp_path).url == "postgresql://direct/app"


def test_a_missing_database_is_a_configuration_error(tmp_path: Path) -> None:
    """There is no default database, and the text says where to name one."""
    with pytest.raises(ConfigurationError, match="--database-url"):
        resolve({}, {}, tmp_path)


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    """Compose files set variables to nothing where they mean no value."""
    environ = {**NAMED, "AUTOMIGRATE_TARGET": "", "AUTOMIGRATE_MIGRATION_URL": ""}
    settings = resolve({}, environ, tmp_path)
    assert settings.options == {}
    assert settings.url == URL


def test_a_command_may_do_without_a_database(tmp_path: Path) -> None:
    """A command that needs none resolves; asking for the URL all the same is refused."""
    settings = resolve({}, {}, tmp_path, required=())
    assert settings.database is None
    with pytest.raises(ConfigurationError, match="no database"):
        _ = settings.url


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """Faults of all sources, unknown keys and contradictions come in one error."""
    directory = _pyproject(tmp_path, "[tool.automigrate]\ntime-out = 5\ngrace = true")
    environ = {"AUTOMIGRATE_MODE": "maybe"}
    with pytest.raises(ConfigurationError) as caught:
        resolve({"connect_timeout": "soon", "lock_timeout": "9s"}, environ, directory)
    text = str(caught.value)
    assert len(caught.value.faults) == 6
    assert "'time-out'; did you mean 'timeout'?" in text
    assert "grace in" in text
    assert "AUTOMIGRATE_MODE: 'maybe' is not one of upgrade, wait, check, off" in text
    assert "--connect-timeout: 'soon'" in text
    assert "lock_timeout=9.0 is more than" in text
    assert "no database is named" in text


def test_an_unreadable_url_is_not_reported_as_missing(tmp_path: Path) -> None:
    """A database URL of the wrong type is one fault, not two."""
    directory = _pyproject(tmp_path, "[tool.automigrate]\ndatabase-url = 5")
    with pytest.raises(ConfigurationError) as caught:
        resolve({}, {}, directory)
    assert len(caught.value.faults) == 1


def test_keys_of_the_file_may_be_written_with_underscores(tmp_path: Path) -> None:
    """`lock_timeout` and `lock-timeout` are the same key."""
    directory = _pyproject(tmp_path, '[tool.automigrate]\nlock_timeout = "100ms"')
    assert resolve({}, NAMED, directory).options == {"lock_timeout": 0.1}


def test_the_file_is_found_from_below_and_its_paths_are_its_own(tmp_path: Path) -> None:
    """Relative paths in pyproject.toml start where it stands."""
    _pyproject(
        tmp_path,
        "[tool.automigrate]\nscript-location = 'db/migrations'\nconfig = 'alembic.ini'\n"
        "database-url = 'embedded:.postgres'",
    )
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    (tmp_path / "src" / "pyproject.toml").write_text("[tool.other]\n# not automigrate's")
    settings = resolve({}, {}, below)
    assert settings.scripts == str(tmp_path / "db/migrations")
    assert settings.options == {"config": str(tmp_path / "alembic.ini")}
    assert settings.url == f"embedded:{tmp_path / '.postgres'}"


def test_a_package_location_of_the_file_stays_as_it_is(tmp_path: Path) -> None:
    """`package:directory` has nothing to do with the place of the file."""
    directory = _pyproject(tmp_path, "[tool.automigrate]\nscript-location = 'app.db:migrations'")
    assert resolve({}, NAMED, directory).scripts == "app.db:migrations"


@pytest.mark.parametrize("text", ["automigrate = [", "[tool]\nautomigrate = 'x'"])
def test_a_broken_file_is_a_configuration_error(tmp_path: Path, text: str) -> None:
    """A pyproject.toml that cannot be read is named, not ignored."""
    with pytest.raises(ConfigurationError, match="pyproject.toml"):
        resolve({}, NAMED, _pyproject(tmp_path, text))


def test_a_file_of_others_is_not_even_parsed(tmp_path: Path) -> None:
    """A pyproject.toml without our name cannot break a start."""
    assert resolve({}, NAMED, _pyproject(tmp_path, "= broken")).url == URL


def test_no_limit_is_written_none(tmp_path: Path) -> None:
    """A flag can lift a limit that the file sets."""
    directory = _pyproject(tmp_path, "[tool.automigrate]\nstep-timeout = 60")
    assert resolve({}, NAMED, directory).options == {"step_timeout": 60.0}
    assert resolve({"step_timeout": "none"}, NAMED, directory).options == {"step_timeout": None}
    with pytest.raises(ConfigurationError, match="no duration"):
        resolve({"timeout": "none"}, NAMED, directory)


def test_x_arguments_come_from_all_places(tmp_path: Path) -> None:
    """They are a list in the file, words in the environment, repeated as a flag."""
    directory = _pyproject(tmp_path, "[tool.automigrate]\nx-arg = ['a=1', 'b=2']")
    assert resolve({}, NAMED, directory).options == {"x_arguments": ("a=1", "b=2")}
    environ = {**NAMED, "AUTOMIGRATE_X_ARG": "a=3 'b=4 5'"}
    assert resolve({}, environ, directory).options == {"x_arguments": ("a=3", "b=4 5")}
    flags = {"x_arguments": ("c=6",)}
    assert resolve({**flags}, environ, directory).options == {"x_arguments": ("c=6",)}


@pytest.mark.parametrize("value", ["'a=1'x\"", '"'])
def test_words_that_cannot_be_split_are_refused(tmp_path: Path, value: str) -> None:
    """An open quote in AUTOMIGRATE_X_ARG is a fault, not a crash."""
    with pytest.raises(ConfigurationError, match="AUTOMIGRATE_X_ARG"):
        resolve({}, {**NAMED, "AUTOMIGRATE_X_ARG": value}, tmp_path)


def test_a_list_of_other_things_is_refused(tmp_path: Path) -> None:
    """The file's x-arg must hold texts."""
    directory = _pyproject(tmp_path, "[tool.automigrate]\nx-arg = [1]")
    with pytest.raises(ConfigurationError, match="list of texts"):
        resolve({}, NAMED, directory)


def test_settings_hide_the_password() -> None:
    """The repr of settings holds no URL."""
    settings = Settings(database=URL, scripts=None, options={"x_arguments": ("k=hunter22",)})
    assert "hunter22" not in repr(settings)


def test_the_readme_lists_every_option_with_its_flag() -> None:
    """README's table has one row for each setting, with the name that the library uses."""
    rows = re.findall(
        r"^\| (.*?) \|? ?`(--[\w-]+)`", (ROOT / "README.md").read_text(), flags=re.MULTILINE
    )
    listed = {flag: name.strip("`| ") for name, flag in rows}
    assert set(listed) == {setting.flag for setting in SETTINGS}
    options = {field.name for field in fields(Options)}
    for setting in SETTINGS:
        if setting.name in options:
            assert listed[setting.flag] == setting.name
