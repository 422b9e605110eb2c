"""Where the scripts are looked for, by Alembic's rules."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from automigrate.errors import ConfigurationError, ScriptError, ScriptImportError
from automigrate.scripts.location import locate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A script directory `migrations` in an otherwise empty project."""
    directory = tmp_path / "migrations"
    (directory / "versions").mkdir(parents=True)
    (directory / "env.py").touch()
    return directory


def ini(file: Path, text: str) -> Path:
    """Write an `alembic.ini` with this `[alembic]` section."""
    file.write_text(f"[alembic]\n{text}\n")
    return file


def test_a_directory_is_enough(scripts: Path, tmp_path: Path) -> None:
    """A script directory without any configuration has Alembic's defaults."""
    location = locate("migrations", cwd=tmp_path)
    assert location.directory == scripts
    assert location.version_locations == (scripts / "versions",)
    assert location.env_file == scripts / "env.py"
    assert location.config_file is None
    assert location.toml_file is None
    assert location.ini_section == "alembic"
    assert not location.recursive
    assert not location.sourceless
    assert location.prepend_sys_path == ()


def test_env_py_may_be_missing(scripts: Path, tmp_path: Path) -> None:
    """A directory without env.py can be read all the same."""
    (scripts / "env.py").unlink()
    assert locate(scripts, cwd=tmp_path).env_file is None


def test_the_current_directory_counts_by_default(
    scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative directory begins at the current one."""
    monkeypatch.chdir(tmp_path)
    assert locate("migrations").directory == scripts


def test_a_plain_directory_needs_no_parser(scripts: Path) -> None:
    """Without an ini there is no configparser, and never Alembic."""
    code = (
        "import sys; before = set(sys.modules); import automigrate.scripts.location as place; "
        f"place.locate({str(scripts)!r}); "
        "print({'alembic', 'sqlalchemy', 'configparser', 'tomllib'} & set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=scripts,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "set()"


def test_finds_the_directory_through_alembic_ini(scripts: Path, tmp_path: Path) -> None:
    """Without a directory, `alembic.ini` in the current one names it, with %(here)s filled in."""
    file = ini(
        tmp_path / "alembic.ini",
        "script_location = %(here)s/migrations\nprepend_sys_path = .\npath_separator = os",
    )
    location = locate(cwd=tmp_path)
    assert location.directory == scripts
    assert location.config_file == file
    assert location.prepend_sys_path == (str(tmp_path),)


def test_another_section_may_be_named(scripts: Path, tmp_path: Path) -> None:
    """The section is Alembic's ``--name``."""
    (tmp_path / "alembic.ini").write_text("[second]\nscript_location = migrations\n")
    location = locate(cwd=tmp_path, ini_section="second")
    assert location.directory == scripts
    assert location.ini_section == "second"


def test_finds_the_directory_through_pyproject(scripts: Path, tmp_path: Path) -> None:
    """`[tool.alembic]` in pyproject.toml names it as well."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    toml = tmp_path / "pyproject.toml"
    toml.write_text(
        '[tool.alembic]\nscript_location = "%(here)s/migrations"\n'
        'version_locations = ["%(here)s/one", "two"]\nrecursive_version_locations = true\n'
        'sourceless = true\nprepend_sys_path = ["src"]\n'
    )
    location = locate(cwd=tmp_path)
    assert location.directory == scripts
    assert location.version_locations == (tmp_path / "one", tmp_path / "two")
    assert location.recursive
    assert location.sourceless
    assert location.toml_file == toml
    assert location.config_file is None
    assert location.prepend_sys_path == (str(tmp_path / "src"),)
    assert locate(config="pyproject.toml", cwd=tmp_path) == location


def test_the_ini_goes_before_pyproject(scripts: Path, tmp_path: Path) -> None:
    """What the ini does not say is taken from pyproject.toml."""
    ini(tmp_path / "alembic.ini", "sqlalchemy.url = unused")
    (tmp_path / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "migrations"\n')
    location = locate(cwd=tmp_path)
    assert location.directory == scripts
    assert location.config_file == tmp_path / "alembic.ini"
    assert location.toml_file == tmp_path / "pyproject.toml"


@pytest.mark.parametrize(
    ("separator", "written"),
    [
        ("path_separator = space", "one two"),
        ("path_separator = newline", "\n  one\n  two"),
        ("path_separator = os", f"one{os.pathsep}two"),
        ("version_path_separator = :", "one:two"),
        ("version_path_separator = ;", "one; two;"),
        ("path_separator = ;\nversion_path_separator = :", "one;two"),
        ("", "one, two"),
        ("", "one two"),
    ],
)
def test_version_locations_are_split_like_alembics(
    scripts: Path, tmp_path: Path, separator: str, written: str
) -> None:
    """Every separator of Alembic, and its legacy splitting without one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    text = f"script_location = migrations\nversion_locations = {written}\n{separator}"
    ini(tmp_path / "alembic.ini", text)
    assert locate(cwd=tmp_path).version_locations == (tmp_path / "one", tmp_path / "two")


def test_switches_of_the_ini(scripts: Path, tmp_path: Path) -> None:
    """recursive_version_locations and sourceless are on when they say true."""
    text = "script_location = migrations\nrecursive_version_locations = true\nsourceless = true"
    ini(tmp_path / "alembic.ini", text)
    location = locate(cwd=tmp_path)
    assert location.recursive
    assert location.sourceless


def test_legacy_prepend_sys_path(scripts: Path, tmp_path: Path) -> None:
    """Without a separator, prepend_sys_path is split at spaces, commas and colons."""
    ini(tmp_path / "alembic.ini", "script_location = migrations\nprepend_sys_path = .:src, lib")
    expected = (str(tmp_path), str(tmp_path / "src"), str(tmp_path / "lib"))
    assert locate(cwd=tmp_path).prepend_sys_path == expected


@pytest.mark.parametrize("place", [".", "migrations", ".."])
def test_an_ini_beside_the_directory_counts(scripts: Path, tmp_path: Path, place: str) -> None:
    """With a directory given, an ini that points to it is used, wherever it lies."""
    cwd = tmp_path if place != ".." else tmp_path / "elsewhere"
    cwd.mkdir(exist_ok=True)
    (tmp_path / "one").mkdir()
    file = ini(
        (cwd / place / "alembic.ini").resolve(),
        f"script_location = {scripts}\nversion_locations = {tmp_path}/one\npath_separator = os",
    )
    location = locate(scripts, cwd=cwd)
    assert location.config_file == file
    assert location.version_locations == (tmp_path / "one",)


def test_an_ini_inside_needs_no_script_location(scripts: Path, tmp_path: Path) -> None:
    """Flask-Migrate keeps an ini without script_location in the script directory."""
    file = ini(scripts / "alembic.ini", "sourceless = true")
    assert locate(scripts, cwd=tmp_path).config_file == file


def test_a_foreign_ini_does_not_count(scripts: Path, tmp_path: Path) -> None:
    """An ini that points elsewhere, or nowhere, says nothing about this directory."""
    ini(tmp_path / "alembic.ini", "script_location = other")
    ini(scripts / "alembic.ini", "script_location = not_installed:migrations")
    assert locate(scripts, cwd=tmp_path).config_file is None
    ini(tmp_path / "alembic.ini", "sourceless = true")
    assert locate(scripts, cwd=tmp_path).config_file is None


def test_a_named_ini_may_leave_the_directory_open(scripts: Path, tmp_path: Path) -> None:
    """A named ini without script_location belongs to the directory given."""
    (tmp_path / "config").mkdir()
    file = ini(tmp_path / "config" / "a.ini", "sourceless = true")
    assert locate(scripts, config="config/a.ini", cwd=tmp_path).config_file == file


def test_a_relative_location_may_begin_at_the_ini(scripts: Path, tmp_path: Path) -> None:
    """A script_location that leads nowhere from the current directory begins at its ini."""
    ini(tmp_path / "alembic.ini", "script_location = migrations")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert locate(config=tmp_path / "alembic.ini", cwd=elsewhere).directory == scripts


def test_refuses_a_contradiction(scripts: Path, tmp_path: Path) -> None:
    """A named ini that points elsewhere contradicts the directory given."""
    (tmp_path / "other").mkdir()
    file = ini(tmp_path / "a.ini", "script_location = other")
    with pytest.raises(ConfigurationError, match="Give one of them"):
        locate(scripts, config=file, cwd=tmp_path)


def test_a_prepared_config_says_it_all(scripts: Path, tmp_path: Path) -> None:
    """What a program has set in its Config goes before its file, and needs none."""
    config = Config(ini_section="shop")
    with pytest.raises(ConfigurationError, match="the Config given has no script_location"):
        locate(config=config, cwd=tmp_path)
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("recursive_version_locations", "true")
    location = locate(config=config, cwd=tmp_path)
    assert (location.directory, location.ini_section) == (scripts, "shop")
    assert location.recursive
    assert location.prepared is config
    config.set_main_option("recursive_version_locations", "false")
    assert not locate(config=config, cwd=tmp_path).recursive

    file = ini(tmp_path / "alembic.ini", "script_location = elsewhere\nsourceless = true")
    config = Config(file)
    with pytest.raises(ConfigurationError, match="the Config given has script_location 'elsewh"):
        locate(scripts, config=config, cwd=tmp_path)
    config.set_main_option("script_location", "migrations")
    location = locate(config=config, cwd=tmp_path)
    assert (location.directory, location.config_file) == (scripts, file)
    assert location.sourceless


def test_finds_nothing(tmp_path: Path) -> None:
    """Without a directory and without a configuration there is nothing to go by."""
    with pytest.raises(ConfigurationError, match="Name the script directory"):
        locate(cwd=tmp_path)
    file = ini(tmp_path / "a.ini", "sourceless = true")
    with pytest.raises(ConfigurationError, match="has no script_location"):
        locate(config=file, cwd=tmp_path)
    with pytest.raises(ConfigurationError, match="does not exist"):
        locate(config="b.ini", cwd=tmp_path)


def test_a_missing_directory_hints_at_package_data(tmp_path: Path) -> None:
    """Scripts that did not get into the image are the usual reason; the text says so."""
    with pytest.raises(ScriptError, match="include it as package data"):
        locate("migrations", cwd=tmp_path)


def test_missing_versions_hint_at_package_data(scripts: Path, tmp_path: Path) -> None:
    """The same for the directory of the scripts."""
    (scripts / "versions").rmdir()
    with pytest.raises(ScriptError, match=r"versions does not exist.*package data"):
        locate(scripts, cwd=tmp_path)


def test_the_versions_directory_itself_is_not_the_one(scripts: Path, tmp_path: Path) -> None:
    """Who names `versions` is told to name the directory above it."""
    with pytest.raises(ScriptError, match=r"Name the directory above it: .*migrations\."):
        locate(scripts / "versions", cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[alembic]\nversion_locations = a\npath_separator = comma\n", "path_separator is 'comma'"),
        ("[alembic]\nscript_location = %(nowhere)s\n", "InterpolationMissingOption"),
        ("[alembic]\nscript_location = a\nscript_location = b\n", "DuplicateOption"),
    ],
)
def test_refuses_a_bad_ini(tmp_path: Path, text: str, message: str) -> None:
    """A value that Alembic would not take is refused with the file."""
    (tmp_path / "alembic.ini").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        locate(cwd=tmp_path)


def test_an_error_in_the_ini_shows_no_line(tmp_path: Path) -> None:
    """A line that does not parse may hold a password; only its number is shown."""
    (tmp_path / "alembic.ini").write_text("[alembic]\npostgresql//user-secret\n")
    with pytest.raises(ConfigurationError, match=r"see line 2") as caught:
        locate(cwd=tmp_path)
    assert "secret" not in str(caught.value)


def test_refuses_an_ini_in_another_encoding(tmp_path: Path) -> None:
    """Bytes that are no text are refused with the file."""
    (tmp_path / "alembic.ini").write_bytes(b"[alembic]\nscript_location = \xff\xfe\n")
    with pytest.raises(ConfigurationError, match="UnicodeDecodeError"):
        locate(cwd=tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("script_location = 1", "must be text"),
        ('version_locations = ["a", 1]', "must be text"),
        ('script_location = "%(nowhere)s"', r"any other '%' is '%%'"),
        ('sourceless = "yes"', "must be true or false"),
        ("= 1", "cannot be read"),
    ],
)
def test_refuses_a_bad_pyproject(tmp_path: Path, line: str, message: str) -> None:
    """A value of another type is refused with the file and the name."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.alembic]\n{line}\n")
    with pytest.raises(ConfigurationError, match=message):
        locate(cwd=tmp_path)


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the search path; what is imported from it is forgotten afterwards."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    return place


def test_finds_scripts_in_a_package(importable: Path, tmp_path: Path) -> None:
    """``package:directory`` is found where the package is installed."""
    versions = importable / "location_package" / "db" / "versions"
    versions.mkdir(parents=True)
    (importable / "location_package" / "__init__.py").touch()
    location = locate("location_package:db", cwd=tmp_path)
    assert location.directory == importable / "location_package" / "db"


def test_refuses_a_package_that_is_not_there(tmp_path: Path) -> None:
    """A package that cannot be found is named."""
    with pytest.raises(ConfigurationError, match="'no_such_package'"):
        locate("no_such_package:db", cwd=tmp_path)


def test_refuses_a_package_that_raises(importable: Path, tmp_path: Path) -> None:
    """A package that fails on import is named with the reason."""
    (importable / "location_broken.py").write_text("raise RuntimeError('no setting')\n")
    with pytest.raises(ScriptImportError, match="RuntimeError: no setting"):
        locate("location_broken:db", cwd=tmp_path)


def test_a_zipped_package_is_unpacked(importable: Path, tmp_path: Path) -> None:
    """Scripts in a zipped package are unpacked where Alembic can do it, else the text says so."""
    archive = importable / "zipped.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("location_zipped/__init__.py", "")
        file.writestr("location_zipped/db/versions/a1.py", "revision = 'a1'\n")
    sys.path.insert(0, str(archive))
    config = Config()
    config.set_main_option("script_location", "location_zipped:db")
    try:
        if sys.version_info >= (3, 12):
            assert ScriptDirectory.from_config(config).dir
            location = locate("location_zipped:db", cwd=tmp_path)
            assert (location.version_locations[0] / "a1.py").is_file()
        else:
            with pytest.raises(ScriptError, match="needs Python 3.12"):
                locate("location_zipped:db", cwd=tmp_path)
            with pytest.raises(IsADirectoryError):
                ScriptDirectory.from_config(config)
    finally:
        sys.path.remove(str(archive))


def test_directories_are_equal_through_links(scripts: Path, tmp_path: Path) -> None:
    """An ini that names the directory through a link names the same directory."""
    (tmp_path / "link").symlink_to(scripts)
    file = ini(tmp_path / "alembic.ini", "script_location = link")
    assert locate("migrations", cwd=tmp_path).config_file == file
