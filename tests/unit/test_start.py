"""What does not execute graphs starts without LangGraph, whose import takes longer than all of Django's."""

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


def test_p11_graphs_that_cannot_be_used_are_told_by_check_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all()  # what is found by discovery stays
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    holdfast.register("no-graph")(lambda: "not a graph")
    assert _told(deploy=False) == []
    assert any("no-graph" in problem for problem in _told(deploy=True))


def _told(*, deploy: bool) -> list[str]:
    found = run_checks(tags=["holdfast"], include_deployment_checks=deploy)
    return [told.msg for told in found if told.id == "holdfast.E103"]
