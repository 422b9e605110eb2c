"""The container image and the compose file: consistent, and their commands run as processes."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.acceptance.health_support import EXAMPLES, ask, environment, free_port, running

if TYPE_CHECKING:
    from tests.support.servers import Database

DOCKER = EXAMPLES / "docker"
Instructions = list[tuple[str, str]]


def dockerfile() -> Instructions:
    """Return the instructions of the Dockerfile with their arguments."""
    lines = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    split = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(name, arguments) for name, arguments in split]


def compose() -> dict[str, Any]:
    """Return the compose file."""
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return found


def test_everything_that_is_copied_into_the_image_is_there() -> None:
    """Paths are relative to the build context, which is the folder of the examples."""
    copies = [shlex.split(args) for name, args in dockerfile() if name == "COPY"]
    sources = [source for copy in copies if not copy[0].startswith("--") for source in copy[:-1]]
    assert sources
    for source in sources:
        assert (EXAMPLES / source).exists(), source


def test_the_image_runs_as_a_number_that_is_not_root_and_gets_its_signals() -> None:
    """Kubernetes can check a numeric user; exec form makes the server process 1."""
    instructions = dockerfile()
    users = [args for name, args in instructions if name == "USER"]
    assert users == ["10001"]
    commands = [args for name, args in instructions if name == "CMD"]
    assert isinstance(json.loads(commands[-1]), list)
    assert not [args for name, args in instructions if name == "FROM" and ":latest" in args]


def test_services_refer_to_what_exists() -> None:
    """Dependencies, volumes, build context and Dockerfile of the compose file."""
    services = compose()["services"]
    for service in services.values():
        for dependency in service.get("depends_on", {}):
            assert dependency in services
        if "build" in service:
            context = (DOCKER / service["build"]["context"]).resolve()
            assert context == EXAMPLES
            assert (context / service["build"]["dockerfile"]).exists()
    assert services["web"]["depends_on"]["migrate"]["condition"] == (
        "service_completed_successfully"
    )


def environment_of(service: dict[str, Any], database: Database) -> dict[str, str]:
    """Return a service's environment, with the test's database and this checkout's scripts."""
    given = {name: str(value) for name, value in service["environment"].items()}
    given["DATABASE_URL"] = database.url
    given["AUTOMIGRATE_SCRIPT_LOCATION"] = str(EXAMPLES / "orders" / "migrations")
    return environment(**given)


@pytest.mark.parametrize("alone", [False, True], ids=["after migrate", "with the gate"])
def test_the_services_run(alone: bool, database: Database) -> None:
    """`migrate` ends with 0 and `web` serves; or `web` migrates by itself behind its gate."""
    services = compose()["services"]
    env = environment_of(services["web"], database)
    if alone:
        env["MIGRATION_DATABASE_URL"] = database.url
    else:
        command = ["-m", *services["migrate"]["command"]]
        migrate_env = environment_of(services["migrate"], database)
        with running(command, cwd=DOCKER, env=migrate_env) as migrate:
            assert migrate.end() == 0, migrate.text
    port = free_port()
    image_command = json.loads([args for name, args in dockerfile() if name == "CMD"][-1])
    arguments = ["-m", *(str(port) if part == "8000" else part for part in image_command)]
    with running(arguments, cwd=DOCKER, env=env) as web:
        web.until(lambda: healthy(port))
        web.until(lambda: ask(port, "/readyz").status == 200)
        assert ask(port).json == {"new_orders": 0}


def healthy(port: int) -> bool:
    """Run what the image's HEALTHCHECK runs, against this port."""
    check = next(args for name, args in dockerfile() if name == "HEALTHCHECK")
    command = json.loads(check[check.index("CMD") + 3 :])
    assert command[:2] == ["python", "-c"]
    source = command[2].replace(":8000/", f":{port}/")
    assert re.search(r"/livez", source)
    ast.parse(source)
    with running(["-c", source], env=environment()) as probe:
        return probe.end() == 0
