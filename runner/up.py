"""``holdfast up``: PostgreSQL, worker, beat, web and Flower in one terminal, for one machine and one person.

It starts the embedded PostgreSQL unless DATABASE_URL names another, migrates, and supervises the rest.
Everything listens on loopback only. Secrets are made once and kept in HOLDFAST_HOME, mode 600.
It serves nothing to a network: that is what docker-compose.yml is for.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from holdfast.errors import ConfigurationError, HoldfastError
from holdfast.persistence import embedded
from holdfast.runner.site.environment import SITE_SETTINGS, WITHOUT_DATABASE, kept_secret
from holdfast.runner.supervisor import Service

HOST: Final = "127.0.0.1"
USER: Final = "holdfast"
WORKER_PATIENCE: Final = 30.0
"""Seconds that the worker has to hand its runs over at a step boundary; a longer node runs again later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What ``up`` was asked for."""

    port: int = 8000
    flower_port: int = 5555
    concurrency: int = 2
    flower: bool = True
    app: str = "holdfast.runner.site.celery:app"
    asgi: str = "holdfast.runner.site.asgi:application"


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Where everything runs: the environment of the children, and what a person needs to know."""

    env: Mapping[str, str] = field(repr=False)
    home: Path
    database: str
    password: str = field(repr=False)
    own_database: bool
    """Whether the embedded server holds it, so that we may make its first user."""


def check(options: Options) -> None:
    """Refuse before anything starts: missing extras, taken ports. Raises ConfigurationError."""
    wanted = {"uvicorn": "site", "dj_database_url": "site"} | ({"flower": "flower"} if options.flower else {})
    for module, extra in wanted.items():
        if find_spec(module) is None:
            raise ConfigurationError(
                f"`up` needs {module}: pip install 'holdfast[{extra}]' (or holdfast[all]).", setting=extra
            )
    ports = {"--port": options.port} | ({"--flower-port": options.flower_port} if options.flower else {})
    if len(set(ports.values())) < len(ports):
        raise ConfigurationError("The web site and Flower need two different ports.", setting="--flower-port")
    for option, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise ConfigurationError(
                    f"Port {port} is taken ({error.strerror}): choose another with {option}.", setting=option
                ) from error


@contextmanager
def surroundings(home: Path, *, use_environment: bool = True) -> Iterator[Surroundings]:
    """The database, and an environment that points at it; the embedded server stops on leaving.

    ``use_environment`` False takes the embedded server even where DATABASE_URL names another.
    """
    embedded.make_home(home)
    (home / "static").mkdir(exist_ok=True)
    password = kept_secret(home / "password", size=9)
    base = {key: value for key, value in os.environ.items() if key != WITHOUT_DATABASE}
    base |= {
        "DJANGO_SETTINGS_MODULE": base.get("DJANGO_SETTINGS_MODULE", SITE_SETTINGS),
        "HOLDFAST_HOME": str(home),
        "SECRET_KEY": base.get("SECRET_KEY") or kept_secret(home / "secret_key"),
        "ALLOWED_HOSTS": f"{HOST},localhost",
        "HTTPS": "0",
        "PYTHONUNBUFFERED": "1",
    }
    if use_environment and base.get("DATABASE_URL"):
        yield Surroundings(
            env=base, home=home, database="DATABASE_URL", password=password, own_database=False
        )
        return
    with embedded.hold(home) as server:
        env = base | {"DATABASE_URL": server.url}
        with _written_env(home / "env", env):
            yield Surroundings(
                env=env,
                home=home,
                database=f"PostgreSQL {server.version} in {server.directory}",
                password=password,
                own_database=True,
            )


@contextmanager
def _written_env(path: Path, env: Mapping[str, str]) -> Iterator[None]:
    """A file for ``. file`` in another terminal, there as long as the server runs."""
    names = (
        "DATABASE_URL",
        "SECRET_KEY",
        "HOLDFAST_HOME",
        "DJANGO_SETTINGS_MODULE",
        "HTTPS",
        "ALLOWED_HOSTS",
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"export {name}={shlex.quote(env[name])}\n" for name in names)
        # So that `holdfast` is found where no virtual environment is active, as after `make up`.
        file.write(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n')
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def migrate(around: Surroundings) -> None:
    """Bring the tables up to date, and make the first user of an embedded database. Raises HoldfastError."""
    _step(around, ["-m", "django", "migrate", "--verbosity", "0"], "migrate")
    if around.own_database:
        _step(
            around,
            ["-m", "holdfast.runner.site.first_user", USER, str(around.home / "password")],
            "first user",
        )


def _step(around: Surroundings, arguments: list[str], what: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter and modules
        [sys.executable, *arguments], env=dict(around.env), capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no output"]
        raise HoldfastError(f"The step `{what}` failed: {last[0].strip()}", step=what, output=done.stderr)


def worker_command(options: Options, *, name: str = "worker") -> list[str]:
    """A real Celery worker of two or so prefork children."""
    return [
        *_celery(options),
        *("worker", "--hostname", f"{name}@%h", "--concurrency", str(options.concurrency)),
        *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
    ]


def services(options: Options, around: Surroundings) -> list[Service]:
    """The worker stops first, while the others still serve."""
    web = ["-m", "uvicorn", options.asgi, "--host", HOST, "--port", str(options.port)]
    web += ["--no-access-log", "--lifespan", "off"]  # Django has no lifespan
    beat = ["beat", "--loglevel", "WARNING", "--schedule", str(around.home / "beat-schedule"), "--pidfile="]
    kept = [
        Service(
            name="worker",
            command=worker_command(options),
            env=around.env,
            stops=0,
            patience=WORKER_PATIENCE,
        ),
        Service(name="beat", command=[*_celery(options), *beat], env=around.env),
        Service(name="web", command=[sys.executable, *web], env=around.env),
    ]
    if options.flower:
        flower = ["flower", f"--address={HOST}", f"--port={options.flower_port}", "--loglevel=WARNING"]
        # In the environment, since anybody on the machine reads a command line.
        secret = {"FLOWER_BASIC_AUTH": f"{USER}:{around.password}"}
        kept.append(
            Service(
                name="flower",
                command=[*_celery(options, "holdfast.runner.site.flower"), *flower],
                env={**around.env, **secret},
            )
        )
    return kept


def _celery(options: Options, module: str = "celery") -> list[str]:
    return [sys.executable, "-m", module, "--quiet", "-A", options.app]
