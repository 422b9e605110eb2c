"""The manifests: valid, hardened, and their commands run as processes with their env and args."""

from __future__ import annotations

import contextlib
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import kubernetes_validate  # type: ignore[import-untyped]
import psycopg
import pytest
import yaml
from psycopg import sql

from tests.acceptance.health_support import (
    EXAMPLES,
    Process,
    ask,
    environment,
    free_port,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.servers import Database

KUBERNETES = EXAMPLES / "kubernetes"
VERSIONS = ("1.30", "1.32", "1.34")
PODS = ("Deployment", "Job")

Manifest = dict[str, Any]


def manifests(*kinds: str) -> list[Any]:
    """Return every manifest of these kinds as a parameter, named by file and name."""
    return [
        pytest.param(one, id=f"{path.stem} {one['kind']} {one['metadata']['name']}")
        for path in sorted(KUBERNETES.glob("*.yaml"))
        for one in yaml.safe_load_all(path.read_text())
        if not kinds or one["kind"] in kinds
    ]


def manifest(file: str, kind: str) -> Manifest:
    """Return the manifest of a kind in a file."""
    for one in yaml.safe_load_all((KUBERNETES / file).read_text()):
        if one["kind"] == kind:
            found: Manifest = one
            return found
    pytest.fail(f"no {kind} in {file}")


def pod_of(workload: Manifest) -> Manifest:
    """Return the pod specification of a workload."""
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def containers_of(workload: Manifest) -> list[Manifest]:
    """Return all containers of a workload, init containers first."""
    pod = pod_of(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("one", manifests())
def test_the_manifest_is_valid_without_a_warning(one: Manifest, version: str) -> None:
    """Strict against Kubernetes' own schemas: no unknown field, no wrong type."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kubernetes_validate.validate(one, version, strict=True) == version


@pytest.mark.parametrize("workload", manifests(*PODS))
def test_the_pod_is_hardened(workload: Manifest) -> None:
    """Non-root, read-only, no capabilities, no token, requests and a memory limit."""
    pod = pod_of(workload)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in containers_of(workload):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"]["drop"] == ["ALL"]
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]
        assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("workload", manifests(*PODS))
def test_urls_come_from_secrets_and_the_migrators_only_where_it_migrates(
    workload: Manifest,
) -> None:
    """No URL is written into a manifest, and only what migrates gets the migrator's role."""
    for container in containers_of(workload):
        migrates = container.get("args") == ["upgrade"]
        for variable in container["env"]:
            if not variable["name"].endswith("DATABASE_URL"):
                continue
            secret = variable["valueFrom"]["secretKeyRef"]["name"]
            owner = migrates or variable["name"] == "MIGRATION_DATABASE_URL"
            assert secret == ("shop-migrator-database" if owner else "shop-app-database")


@pytest.mark.parametrize("workload", manifests(*PODS))
def test_the_grace_period_is_longer_than_automigrates_own(workload: Manifest) -> None:
    """A revision is rolled back after 20 s, before the kubelet kills the process."""
    assert pod_of(workload)["terminationGracePeriodSeconds"] >= 30


def test_no_probe_can_kill_a_long_migration() -> None:
    """Startup and liveness ask /livez, which is 200 while it migrates; only readiness waits."""
    container = pod_of(manifest("gate.yaml", "Deployment"))["containers"][0]
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("workload", manifests("Job"))
def test_a_job_is_not_retried_where_a_retry_cannot_help(workload: Manifest) -> None:
    """Exit codes of the table: configuration, scripts, schema, interrupted, failed."""
    from automigrate import errors

    final = {
        errors.ConfigurationError.exit_code,
        errors.ScriptError.exit_code,
        errors.SchemaMismatchError.exit_code,
        errors.InterruptedRevisionError.exit_code,
        errors.UpgradeError.exit_code,
    }
    rule = workload["spec"]["podFailurePolicy"]["rules"][0]
    assert rule["action"] == "FailJob"
    assert set(rule["onExitCodes"]["values"]) == final
    assert workload["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_hooks_are_annotated_for_their_tools() -> None:
    """Helm runs its hook before install and upgrade, Argo CD before it syncs."""
    helm = manifest("helm-hook.yaml", "Job")["metadata"]["annotations"]
    assert helm["helm.sh/hook"] == "pre-install,pre-upgrade"
    argo = manifest("argocd-presync.yaml", "Job")["metadata"]["annotations"]
    assert argo["argocd.argoproj.io/hook"] == "PreSync"


@pytest.fixture
def secrets(database: Database) -> Iterator[dict[str, str]]:
    """The Secrets' values, by name: two roles, made as roles.sql says."""
    suffix, password = uuid4().hex[:8], "p@ss/word"
    names = {name: f"{name}_{suffix}" for name in ("shop_migrator", "shop_app")}
    script = (KUBERNETES / "roles.sql").read_text().replace("from the secret store", password)
    for name, unique in names.items():
        script = script.replace(name, unique)
    database.execute(script)
    address = database.tcp_url.rpartition("@")[2]
    yield {
        f"{name.replace('_', '-')}-database": f"postgresql://{unique}:p%40ss%2Fword@{address}"
        for name, unique in names.items()
    }
    with psycopg.connect(database.url, autocommit=True) as connection:
        for unique in names.values():
            connection.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(unique)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(unique)))


def environment_of(container: Manifest, secrets: dict[str, str], **more: str) -> dict[str, str]:
    """Return the environment that the kubelet would give to a container of the image."""
    given = {}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        value = secrets[reference["name"]] if reference else variable["value"]
        given[variable["name"]] = value.replace(
            "/app/migrations", str(EXAMPLES / "orders" / "migrations")
        )
    return environment(
        KUBERNETES_SERVICE_HOST="10.0.0.1", PYTHONDONTWRITEBYTECODE="1", **given, **more
    )


def start(
    container: Manifest, secrets: dict[str, str], *, port: int | None = None
) -> AbstractContextManager[Process]:
    """Run a container's command and args as the image would, from its working directory."""
    command = [*container["command"], *container.get("args", [])]
    if port is not None:
        command = [str(port) if part == "8000" else part for part in command]
    return running(
        ["-m", *command], cwd=EXAMPLES / "docker", env=environment_of(container, secrets)
    )


def version(database: Database) -> list[tuple[Any, ...]]:
    """Return the rows of the version table; none where there is no such table."""
    if database.rows("select to_regclass('alembic_version')") == [(None,)]:
        return []
    return database.rows("select version_num from alembic_version")


def test_init_containers_of_three_pods_migrate_once_and_the_application_serves(
    database: Database, secrets: dict[str, str]
) -> None:
    """All end with 0, one has migrated; the application serves with a role that may not."""
    pod = pod_of(manifest("init-container.yaml", "Deployment"))
    init, shop = pod["initContainers"][0], pod["containers"][0]
    with contextlib.ExitStack() as stack:
        pods = [stack.enter_context(start(init, secrets)) for _ in range(3)]
        assert [one.end() for one in pods] == [0, 0, 0], [one.text for one in pods]
        migrated = [one.text for one in pods if "applied 3 revisions" in one.text]
        assert len(migrated) == 1, [one.text for one in pods]
    assert version(database) == [("0003",)]
    serve(shop, secrets)


def serve(container: Manifest, secrets: dict[str, str]) -> None:
    """Run the application's container until its probes are content, ask it, and end it."""
    port = free_port()
    with start(container, secrets, port=port) as process:
        process.until(lambda: passes(container["startupProbe"], port))
        process.until(lambda: passes(container["readinessProbe"], port))
        assert passes(container["livenessProbe"], port)
        assert ask(port).json == {"new_orders": 0}
        assert process.terminate() in {0, -15}, process.text


def passes(probe: Manifest, port: int) -> bool:
    """Ask what a probe asks."""
    return 200 <= ask(port, probe["httpGet"]["path"]).status < 400


def test_pods_wait_for_the_job_and_never_migrate(
    database: Database, secrets: dict[str, str]
) -> None:
    """Waiting pods change nothing; when the Job has ended they go on with exit code 0."""
    job = pod_of(manifest("job-and-wait.yaml", "Job"))["containers"][0]
    pod = pod_of(manifest("job-and-wait.yaml", "Deployment"))
    with start(pod["initContainers"][0], secrets) as waiting:
        waiting.until(lambda: any("automigrate" in one for one in database.sessions()))
        time.sleep(0.5)
        assert waiting.popen.poll() is None
        assert version(database) == []
        with start(job, secrets) as migrating:
            assert migrating.end() == 0, migrating.text
        assert waiting.end() == 0, waiting.text
    assert version(database) == [("0003",)]
    serve(pod["containers"][0], secrets)


def test_pods_behind_the_gate_elect_one_and_all_become_ready(
    database: Database, secrets: dict[str, str]
) -> None:
    """Three pods with both roles: nobody before the schema is right, everybody after."""
    container = pod_of(manifest("gate.yaml", "Deployment"))["containers"][0]
    ports = [free_port() for _ in range(3)]
    with contextlib.ExitStack() as stack:
        pods = [stack.enter_context(start(container, secrets, port=port)) for port in ports]
        for pod, port in zip(pods, ports, strict=True):
            pod.until(partial(passes, container["readinessProbe"], port))
            assert ask(port).json == {"new_orders": 0}
        rows = database.rows("select count(*) from automigrate_journal where state = 'applied'")
        assert rows == [(3,)]
        release = database.rows("select distinct application_version from automigrate_journal")
        assert release == [("1.4.0",)]


def test_the_applications_role_cannot_migrate(database: Database, secrets: dict[str, str]) -> None:
    """With the wrong Secret the command says which privilege is missing and changes nothing."""
    job = pod_of(manifest("job-and-wait.yaml", "Job"))["containers"][0]
    swapped = {**secrets, "shop-migrator-database": secrets["shop-app-database"]}
    with start(job, swapped) as process:
        assert process.end() == 4, process.text
        assert "p@ss/word" not in process.text
    assert version(database) == []


def test_a_rolling_update_keeps_old_pods_ready_on_the_newer_schema(
    database: Database, secrets: dict[str, str], tmp_path: Path
) -> None:
    """The walk-through: old pods serve on, the new one migrates, a roll-back changes nothing."""
    from tests.support.projects import Project

    old = Project.linear(tmp_path / "old", 2)
    new = old.copy(tmp_path / "new")
    new.extend(1, first=3)
    container = pod_of(manifest("gate.yaml", "Deployment"))["containers"][0]
    app = tmp_path / "app.py"
    source = (EXAMPLES / "docker" / "app.py").read_text()
    app.write_text(source.replace("from orders where state = 'new'", "from t_r0001"))

    def release(project: Project, port: int) -> AbstractContextManager[Process]:
        env = environment_of(container, secrets)
        env["AUTOMIGRATE_SCRIPT_LOCATION"] = str(project.scripts)
        arguments = ["-m", "uvicorn", "--port", str(port), "app:app"]
        return running(arguments, cwd=tmp_path, env=env)

    first, second, third = (free_port() for _ in range(3))
    with release(old, first) as before:
        before.until(lambda: ask(first, "/readyz").status == 200)
        with release(new, second) as after:
            after.until(lambda: ask(second, "/readyz").status == 200)
            seen: list[tuple[int, str]] = []

            def looked_again() -> bool:
                answer = ask(first, "/readyz?verbose")
                seen.append((answer.status, answer.json["verdict"]))
                return seen[-1][1] != "current"

            before.until(looked_again)  # the old pod's look is good for 10 s
            assert {status for status, _ in seen} == {200}
            assert seen[-1] == (200, "ahead")
        assert ask(first).status == 200
        with release(old, third) as back:
            back.until(lambda: ask(third, "/readyz").status == 200)
    assert version(database) == [("r0003",)]
