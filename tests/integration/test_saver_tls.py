"""The saver over TLS, by the options of the alias: threads and tasks, on a server that takes nothing else.

Skips where no server with TLS is installed: the embedded one's wheel is built without.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connections

from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import close_pools, connect
from tests.acceptance.brokers import absent
from tests.extras import extra
from tests.integration.claims import chain, config_for
from tests.servers import PrivatePostgres

x509 = extra("cryptography.x509")
hashes = extra("cryptography.hazmat.primitives.hashes")
serialization = extra("cryptography.hazmat.primitives.serialization")
ec = extra("cryptography.hazmat.primitives.asymmetric.ec")


def certificate(name: str) -> tuple[bytes, bytes]:
    """One that is signed by itself, for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return signed.public_bytes(pem), key.private_bytes(pem, *form)


@pytest.fixture(scope="module")
def tls_server() -> Iterator[tuple[PrivatePostgres, Path]]:
    """A migrated server that takes connections over TLS only, and the certificate that it shows."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if not found:
        absent("PostgreSQL with TLS", "no initdb below /usr/lib/postgresql (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="hf-tls-"))
    server = PrivatePostgres(found[0].parent, folder)
    try:
        environment = {**os.environ, **server.environment()}
        environment.pop("DATABASE_URL", None)
        migrate = [sys.executable, "-m", "django", "migrate", "-v0"]
        subprocess.run(migrate, env=environment, check=True, timeout=120)
        data = folder / "data"
        for file, content in zip(("server.crt", "server.key"), certificate("holdfast-tests"), strict=True):
            (data / file).write_bytes(content)
            (data / file).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(data / file, data.owner(), data.group())
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        with (data / "postgresql.auto.conf").open("a") as configured:
            configured.write("ssl = on\n")
        server.restart("fast")
        root = folder / "root.crt"
        shutil.copy(data / "server.crt", root)
        yield server, root
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def over_tls(tls_server: tuple[PrivatePostgres, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Behind the alias; with the certificate that it is to show."""
    server, root = tls_server
    close_pools()
    target = {"HOST": "127.0.0.1", "PORT": str(server.port), "USER": "postgres", "NAME": "postgres"}
    options = {"sslmode": "verify-full", "sslrootcert": str(root)}
    for key, value in {**target, "PASSWORD": "", "OPTIONS": options}.items():
        monkeypatch.setitem(connections["default"].settings_dict, key, value)
    yield root
    close_pools()


def test_threads_and_tasks_go_through_tls(over_tls: Path) -> None:
    with connect("default") as connection:
        seen = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert seen == (True,)
    graph = chain(3).compile(checkpointer=DjangoSaver())
    large = ["x" * 300_000]  # more than a TLS record, and than what is read at once
    by_thread, by_task = config_for(str(uuid4())), config_for(str(uuid4()))
    ended = graph.invoke({"items": large}, by_thread)
    assert asyncio.run(graph.ainvoke({"items": large}, by_task)) == ended

    async def past(config: Any) -> int:
        return len([state async for state in graph.aget_state_history(config)])

    assert asyncio.run(past(by_task)) == len(list(graph.get_state_history(by_thread))) == 5


def test_a_server_that_shows_another_certificate_is_refused(
    over_tls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = tmp_path / "another.crt"
    another.write_bytes(certificate("somebody-else")[0])
    monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "sslrootcert", str(another))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect("default")
