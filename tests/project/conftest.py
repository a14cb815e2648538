"""Installs the built wheel into a virtual environment of its own, and sets up the hostile project there.

The environment sees the dependencies of the running one, but not this repository: whatever the
project uses of Holdfast comes out of the wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.acceptance.brokers import absent
from tests.acceptance.databases import ROOT, Database, new_name
from tests.acceptance.workers import MARK, MARK_VALUE, Worker, end_marked

HERE = Path(__file__).parent
_logs = count(1)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment in which the wheel is installed."""
    home = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(home), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = home.glob("holdfast-*.whl")
    venv.create(home / "venv", with_pip=True, symlinks=True)
    python = home / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, env=_clean())
    assert done.returncode == 0, done.stdout + done.stderr
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    # Behind the environment's own packages, and without following the .pth files found there.
    (site / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n")
    return python


def _clean() -> dict[str, str]:
    """The environment without what would lead a process into this repository."""
    hidden = {"PYTHONPATH", "DJANGO_SETTINGS_MODULE", "VIRTUAL_ENV", "PYTHONHOME"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


@dataclass(kw_only=True)
class Project:
    """The hostile project, its databases and its processes."""

    python: Path
    folder: Path
    default: Database
    second: Database
    holdfast: str
    """The alias of the database that holds Holdfast's tables."""
    workers: list[Worker] = field(default_factory=list)

    @property
    def runs(self) -> Database:
        """The database that holds Holdfast's tables."""
        return self.default if self.holdfast == "default" else self.second

    @property
    def results(self) -> Path:
        """Where the project's own result backend writes."""
        return self.folder / "results"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the project's processes."""
        return {
            **_clean(),
            MARK: MARK_VALUE,
            "PYTHONUNBUFFERED": "1",
            "C_FORCE_ROOT": "1",  # the project takes pickle, which Celery refuses to a root, as in a container
            "PGHOST": self.default.host,
            "PGPORT": self.default.port,
            "STRANGER_ROLE": self.default.user,
            "STRANGER_DEFAULT": self.default.name,
            "STRANGER_SECOND": self.second.name,
            "STRANGER_HOLDFAST": self.holdfast,
            "STRANGER_RESULTS": str(self.results),
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the environment's python in the project's folder, and wait for its end."""
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def manage(self, *arguments: str, **environment: str) -> str:
        """What manage.py prints, standard error included. Raises AssertionError if it fails."""
        done = self.run("manage.py", *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def script(self, code: str) -> Any:
        """What a script assigns to ``answer``, by way of JSON; Django is set up and holdfast imported."""
        prelude = "import json, django\ndjango.setup()\nimport holdfast\nanswer = None\n"
        done = self.run(
            "-c",
            f"{prelude}{code}\nprint(json.dumps(answer, default=str))",
            DJANGO_SETTINGS_MODULE="stranger.settings",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def worker(self, *, pool: str = "prefork", concurrency: int = 2) -> Worker:
        """Start a worker of the project's and wait until it consumes."""
        worker = Worker(
            environment={**self.environment, "DJANGO_SETTINGS_MODULE": "stranger.settings"},
            log=self.folder / f"worker-{next(_logs)}.log",
            pool=pool,
            concurrency=concurrency,
            queues=("slow", "errands"),
            app="stranger",
            python=str(self.python),
            cwd=self.folder,
        )
        self.workers.append(worker)
        return worker.wait_ready()

    @contextmanager
    def web(self) -> Iterator[Web]:
        """A web process of the project's."""
        process = subprocess.Popen(
            [str(self.python), "-m", "stranger.serve"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield Web(pid=process.pid, port=int(process.stdout.readline()))
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def query(self, statement: str, database: Database | None = None) -> list[Any]:
        """Rows of a statement in the runs' database, or another."""
        with (database or self.runs).connect() as connection:
            return connection.execute(statement).fetchall()

    def logs(self) -> str:
        """The end of every worker's log, for the report of a failed test."""
        return "\n".join(f"--- {worker!r} ---\n{worker.text[-12000:]}" for worker in self.workers)

    def end(self) -> None:
        """Kill all workers, and forget them."""
        for worker in self.workers:
            if worker.alive:
                worker.kill()
        self.workers.clear()


@dataclass(frozen=True, kw_only=True)
class Web:
    """A web process that answers on loopback."""

    pid: int
    port: int

    def get(self, path: str) -> Any:
        """The JSON at the path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, **fields: str) -> Any:
        """The JSON that answers a form. Raises urllib.error.HTTPError."""
        data = urllib.parse.urlencode(fields).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def role() -> Iterator[Database]:
    """The server, as a role without superuser sees it, which may create databases for its tests."""
    server = Database()
    name = new_name("stranger")
    try:
        with server.connect() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER CREATEDB PASSWORD {}").format(
                    sql.Identifier(name), sql.Literal(name)
                )
            )
    except psycopg.OperationalError as error:
        absent("PostgreSQL", error)
    yield replace(server, user=name, password=name)
    with server.connect() as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = %s)",
            [name],
        ).fetchall()
        for (database,) in left:  # of a test run of the project's that was cut short
            replace(server, name=database).drop()
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture(scope="session", params=["default", "second"])
def settled(
    request: pytest.FixtureRequest,
    installed: Path,
    role: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Project]:
    """The migrated project, with Holdfast on either database; stock checkpoints were there before it."""
    folder = tmp_path_factory.mktemp("hostile") / "project"
    shutil.copytree(HERE / "hostile", folder, ignore=shutil.ignore_patterns("__pycache__"))
    databases = []
    for _ in range(2):
        name = new_name("stranger")
        with Database().connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(role.user))
            )
        databases.append(replace(role, name=name))
    project = Project(
        python=installed, folder=folder, default=databases[0], second=databases[1], holdfast=request.param
    )
    project.results.mkdir()
    try:
        fill_with_stock_checkpoints(project.runs)
        project.manage("migrate", "--verbosity=0")
        project.manage("migrate", "--verbosity=0", "--database=second")
        yield project
    finally:
        project.end()
        end_marked()
        for database in databases:
            replace(Database(), name=database.name).drop()


def fill_with_stock_checkpoints(database: Database) -> None:
    """A thread ``stock`` as upstream's own saver leaves it, in tables that upstream's own setup made."""
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.graph import StateGraph

    from tests.project.hostile.graphs.state import Fulfilment

    def greet(state: Any) -> Any:
        return {"log": ["from stock"]}

    with database.connect() as connection:
        connection.row_factory = psycopg.rows.dict_row
        saver = PostgresSaver(connection)
        saver.setup()
        graph = StateGraph(Fulfilment)
        graph.add_node("greet", greet)
        graph.set_entry_point("greet")
        compiled = graph.compile(checkpointer=saver)
        compiled.invoke({"order": 0, "log": ["first"]}, {"configurable": {"thread_id": "stock"}})


@pytest.fixture
def project(settled: Project) -> Iterator[Project]:
    """The project; its workers are gone after each test."""
    yield settled
    settled.end()
