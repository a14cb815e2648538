"""A PostgreSQL server of a test's own, which may be stopped and started at will."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest


def _binaries() -> Path | None:
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return installed[-1].parent if installed else None


class OwnServer:
    """initdb in a folder, on a free port of the loopback interface; trust authentication, fsync off."""

    def __init__(self, folder: Path) -> None:
        found = _binaries()
        if found is None:
            if os.environ.get("CI") == "true":
                pytest.fail("PostgreSQL's own programs (initdb, pg_ctl) are not installed")
            pytest.skip("PostgreSQL's own programs (initdb, pg_ctl) are not installed")
        self._bin = found
        self._data = folder / "data"
        self._log = folder / "log"
        self._user: str | None = None
        if os.geteuid() == 0:  # the server refuses to run as root
            self._user = next((name for name in ("postgres", "nobody") if _exists(name)), None)
            for each in (folder, *folder.parents[:2]):
                each.chmod(0o755)
            shutil.chown(folder, self._user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync")

    @property
    def settings(self) -> dict[str, str]:
        """What to put into an alias's settings to reach it."""
        return {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": "postgres", "NAME": "postgres"}

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self._log.parent} -c fsync=off"
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self._log), "-w", "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop it in that mode: smart, fast or immediate."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def make_tables(self, connection: Any) -> None:
        """Upstream's checkpoint tables."""
        from langgraph.checkpoint.postgres import PostgresSaver

        PostgresSaver(connection).setup()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True,
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
