"""A real PgBouncer in front of the tests' PostgreSQL, in transaction mode; skips where the program is not installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connections

SESSIONS = 2
"""Server sessions that all clients share."""


class PgBouncer:
    """In transaction mode: after each transaction the session goes to whoever asks next."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        target = connections["default"].settings_dict
        user = target["USER"] or "postgres"
        password = f" password={target['PASSWORD']}" if target["PASSWORD"] else ""
        (folder / "users").write_text(f'"{user}" ""\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host={target['HOST'] or '/var/run/postgresql'} port={target['PORT'] or 5432}"
            f" user={user}{password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\nauth_file = {folder}/users\npool_mode = transaction\n"
            f"default_pool_size = {SESSIONS}\nmax_client_conn = 100\nserver_reset_query =\nlogfile = {folder}/log\n"
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [self._program, str(self._folder / "ini")]
        owner = {}
        if os.geteuid() == 0:  # which it refuses to be
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            owner = {"user": nobody.pw_uid, "group": nobody.pw_gid}
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.02)  # nothing tells of another program's port

    def stop(self) -> None:
        """End it, with all its connections."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def connect(self) -> psycopg.Connection[tuple[str, ...]]:
        """Another program's connection through it."""
        target = connections["default"].settings_dict
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=target["USER"],
            dbname=target["NAME"],
            autocommit=True,
            prepare_threshold=None,
        )


@pytest.fixture
def pgbouncer() -> Iterator[PgBouncer]:
    """A fresh one for each test. Nothing is installed for it: CONTRIBUTING says how to have the program."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt install pgbouncer)")
    folder = Path(tempfile.mkdtemp(prefix="hf-bouncer-"))
    try:
        bouncer = PgBouncer(program, folder)
        try:
            yield bouncer
        finally:
            bouncer.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
