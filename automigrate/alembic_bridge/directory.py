"""Alembic's script directory over scripts that are imported only when they run.

Alembic imports every script to learn its identifiers. The reader knows them already, so the
revision map is filled from it, and a script is imported when its module is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from alembic.config import Config
from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import Revision as AlembicRevision, RevisionMap
from alembic.util import load_python_file, to_tuple
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from automigrate.database.redaction import scrub
from automigrate.errors import BrokenHistoryError, ScriptImportError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping
    from configparser import ConfigParser
    from types import ModuleType

    from alembic.runtime.migration import RevisionStep

    from automigrate.scripts.graph import Revision, ScriptGraph
    from automigrate.scripts.location import ScriptLocation

__all__ = ["LazyScript", "ProjectConfig", "config_for", "default_driver", "directory_for"]

WHOLE = ("head", "heads")
"""Targets that need no revision map to be understood."""
DRIVERS = {"asyncpg", "psycopg", "psycopg2"}
OUR_DRIVER = "postgresql+psycopg"


class Attributes(dict[str, Any]):
    """`config.attributes`, which notes whether a connection is asked for.

    Programs hand over one of theirs, and some env.py cannot do without.

    Args:
        given: what the program has put there.
    """

    asked_for_connection = False

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.needs_ours = _is_bound_to_its_thread(given.get("connection"))
        """Whether env.py was to get a connection that only its own event loop can use."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, as of any mapping."""
        self._note(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def _note(self, key: object) -> None:
        self.asked_for_connection = self.asked_for_connection or key == "connection"


def _is_bound_to_its_thread(connection: Any) -> bool:
    return bool(getattr(getattr(connection, "dialect", None), "is_async", False))


class ProjectConfig(Config):
    """The project's configuration with our database in it.

    Args:
        prepared: as the program has made it, whose options and attributes count.
        **said: as for any `Config`.
    """

    url_of_ours: str | None = None
    """The URL in it, where the project names no driver."""

    def __init__(self, prepared: Config | None = None, **said: Any) -> None:
        super().__init__(**said)
        self._prepared = prepared
        if prepared is not None:
            self.config_args = dict(prepared.config_args)

    @cached_property
    def attributes(self) -> Attributes:
        """What programs hand to env.py."""
        return Attributes({} if self._prepared is None else self._prepared.attributes)

    @cached_property
    def file_config(self) -> ConfigParser:
        """The options, with those that a program has set."""
        if self._prepared is None:
            return super().file_config
        return deepcopy(self._prepared.file_config)

    def choose_async_driver(self) -> None:
        """Have `sqlalchemy.url` lead to an asynchronous driver, where the choice is ours."""
        assert self.url_of_ours is not None
        url = make_url(self.url_of_ours).set(drivername=f"{OUR_DRIVER}_async")
        self.set_main_option("sqlalchemy.url", _escaped(url.render_as_string(hide_password=False)))
        self.url_of_ours = None


class LazyScript(Script):
    """A script whose module is imported at the first access."""

    def __init__(self, revision: Revision) -> None:
        AlembicRevision.__init__(
            self,
            revision.revision,
            revision.down_revisions or None,
            branch_labels=revision.branch_labels or None,
            dependencies=revision.depends_on or None,
        )
        self.path = revision.file
        self._loaded: ModuleType | None = None

    @property
    def module(self) -> ModuleType:  # type: ignore[override]
        """The imported script.

        Raises:
            ScriptImportError: it has a syntax error, raised, or lacks `upgrade`.
        """
        if self._loaded is None:
            self._loaded = _load(self.path, self.revision)
        return self._loaded


def _load(path: str, revision: str) -> ModuleType:
    directory, _, name = str(path).rpartition("/")
    try:
        module = load_python_file(directory or ".", name)
    except SyntaxError as error:
        reason = f"syntax error in line {error.lineno}: {error.msg}"
        raise ScriptImportError(file=path, reason=reason, revision=revision) from error
    except (Exception, SystemExit) as error:  # a setting may be missing that it cannot do without
        reason = scrub(f"{type(error).__name__}: {error}")
        raise ScriptImportError(file=path, reason=reason, revision=revision) from error
    if getattr(module, "revision", revision) != revision:
        found = module.revision
        msg = f"{path} says revision {found!r} when imported, but its text reads {revision!r}."
        raise BrokenHistoryError(msg)
    if not hasattr(module, "upgrade"):
        raise ScriptImportError(file=path, reason="it has no upgrade()", revision=revision)
    return module


def config_for(
    location: ScriptLocation, sqlalchemy_url: Callable[[str], str], arguments: Namespace
) -> ProjectConfig:
    """Make the Alembic configuration that env.py sees.

    Files are read as plain Alembic would; script location and database URL are ours. The URL keeps
    the driver that the project's own has, because env.py may pass `connect_args` made for it.

    Args:
        location: where the files are.
        sqlalchemy_url: makes the URL for a driver.
        arguments: what Alembic's command line would have parsed.
    """
    files: dict[str, Any] = {}
    if location.config_file is not None:
        files["file_"] = str(location.config_file)
    if location.toml_file is not None and "toml_file" in inspect.signature(Config).parameters:
        files["toml_file"] = str(location.toml_file)
    config = ProjectConfig(
        location.prepared, ini_section=location.ini_section, cmd_opts=arguments, **files
    )
    config.set_main_option("script_location", _escaped(str(location.directory)))
    driver = _drivername(config)
    url = sqlalchemy_url(driver or OUR_DRIVER)
    if driver is None:
        config.url_of_ours = make_url(url).render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", _escaped(url))
    if config.file_config.has_option(location.ini_section, "url"):
        driver = _drivername(config, "url")
        config.set_main_option("url", _escaped(sqlalchemy_url(driver or OUR_DRIVER)))
    # What env.py files commonly ask before they set up logging; the application has done that.
    config.attributes.setdefault("configure_logger", False)
    return config


def _drivername(config: Config, option: str = "sqlalchemy.url") -> str | None:
    """Tell the driver that the project names, if it is installed."""
    try:
        said = (config.get_main_option(option) or "").partition(":")[0]
    except Exception:  # noqa: BLE001 - an interpolation that only the project's own tools fill in
        said = ""
    dialect, _, driver = said.partition("+")
    if dialect == "postgresql" and driver in DRIVERS and importlib.util.find_spec(driver):
        return said
    return None


def default_driver() -> str:
    """Tell which driver SQLAlchemy takes where a URL names none, if it is installed."""
    driver: str = postgresql.dialect.driver
    return driver if importlib.util.find_spec(driver) else "psycopg"


def directory_for(location: ScriptLocation, graph: ScriptGraph) -> ScriptDirectory:
    """Make Alembic's script directory, filled from the graph."""
    importlib.invalidate_caches()
    return _Directory(location, graph)


class _Directory(ScriptDirectory):
    """Alembic's script directory, whose revision map is made when somebody asks for more.

    Alembic makes objects of all scripts and walks through them several times to know what is
    pending; the graph knows that already, and in the same order.
    """

    def __init__(self, location: ScriptLocation, graph: ScriptGraph) -> None:
        super().__init__(
            str(location.directory),
            version_locations=[str(path) for path in location.version_locations],
            sourceless=location.sourceless,
            recursive_version_locations=location.recursive,
        )
        self._graph = graph
        self._scripts: dict[str, LazyScript] = {}
        self.revision_map = RevisionMap(lambda: map(self._script, graph))

    def _script(self, name: str) -> LazyScript:
        found = self._scripts.get(name)
        if found is None:
            found = self._scripts[name] = LazyScript(self._graph[name])
        return found

    def _upgrade_revs(self, destination: str, current_rev: Any) -> list[RevisionStep]:
        graph, heads = self._graph, to_tuple(current_rev, default=())
        if destination not in WHOLE or not all(head in graph for head in heads):
            return super()._upgrade_revs(destination, current_rev)
        steps = []
        for name in graph.upgrade_order(heads, graph.resolve(destination)):
            script = self._script(name)
            below = graph.dependencies_of(name)
            # What the map would fill in, for the update of the version table.
            script._normalized_resolved_dependencies = tuple(  # noqa: SLF001
                other for other in below if other not in graph[name].down_revisions
            )
            script._resolved_dependencies = graph.resolved_depends_on(name)  # noqa: SLF001
            steps.append(MigrationStep.upgrade_from_script(self.revision_map, script))
        return steps


def _escaped(value: str) -> str:
    return value.replace("%", "%%")
