"""Fixtures for tests with real processes.

``stage`` is what a test asks for: a database of the module's own, a broker (PostgreSQL's unless
``@every_broker`` asks for all three) and ``stage.worker()``. The test's own process talks to the
same database and broker, so ``holdfast.enqueue`` and the ORM just work in it.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.acceptance.apps import celery_uses
from tests.acceptance.brokers import Broker, absent, open_broker
from tests.acceptance.databases import Database, django_uses, new_name
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.workers import Stage, end_marked, marked


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture(scope="session", autouse=True)
def no_orphans() -> Iterator[None]:
    """No process outlives the suite: not after a failure, nor after Ctrl-C."""
    atexit.register(end_marked)
    yield
    left = [f"{process.pid} {' '.join(process.cmdline())}" for process in marked()]
    end_marked()
    assert not left, f"tests left processes behind: {left}"


@pytest.fixture(scope="session")
def template() -> Iterator[Database]:
    """A migrated database that nobody is connected to, to be cloned."""
    try:
        database = Database().create(new_name("template"))
    except psycopg.OperationalError as error:
        absent("PostgreSQL", error)
    try:
        database.migrate()
        yield database
    finally:
        database.drop()


@pytest.fixture(scope="module")
def database(template: Database) -> Iterator[Database]:
    """A migrated, empty database of the test module's own."""
    database = Database().create(new_name("module"), template=template)
    try:
        yield database
    finally:
        database.drop()


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest, database: Database) -> Iterator[Broker]:
    """The broker, ours on PostgreSQL unless the test is parametrised."""
    broker = open_broker(getattr(request, "param", "holdfast"), database)
    try:
        yield broker
    finally:
        broker.close()


@pytest.fixture
def stage(
    database: Database, broker: Broker, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Stage]:
    """The test's processes; afterwards they are gone and the database is empty again."""
    stage = Stage(database, broker, tmp_path)
    with django_db_blocker.unblock(), django_uses(database), celery_uses(broker):
        try:
            yield stage
        finally:
            stage.end()
            broker.lose_everything()
            database.empty()


@pytest.fixture
def execution_log(tmp_path: Path) -> ExecutionLog:
    """A file for ``long_steps`` to write into."""
    return ExecutionLog(tmp_path / "executed.log")
