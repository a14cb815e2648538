"""A prune that is killed before it commits has deleted nothing, and the next one deletes the same (P10)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection

from holdfast.persistence.models import Thread
from holdfast.persistence.retention import prune
from tests.integration.threads import DAY, counts, graph, keep, talk

pytestmark = pytest.mark.django_db(transaction=True)

PRUNE = """
import django
django.setup()
from holdfast.persistence.retention import prune
from tests.integration.threads import DAY, keep
prune(keep(max_age=DAY))
"""


def test_p10_a_prune_killed_before_it_commits_leaves_the_thread_whole(at_hours: Any) -> None:
    talk(graph(), "old", 2)
    before = counts()
    at_hours(48)
    for passing in (1, 2):  # the row that it locks, and the deletion
        environment = {
            **os.environ,
            "PGDATABASE": str(connection.settings_dict["NAME"]),
            "PGOPTIONS": "-c holdfast.clock_offset=172800s",
            "HOLDFAST_FAULTS": f"retention-before-commit=kill:{passing}",
        }
        ended = subprocess.run([sys.executable, "-c", PRUNE], env=environment, check=False, timeout=60)
        assert ended.returncode == -signal.SIGKILL
        assert counts() == before
    report = prune(keep(max_age=DAY))
    assert (report.threads, report.checkpoints) == (1, before["checkpoints"])
    assert set(counts().values()) == {0}
    assert not Thread.objects.exists()
