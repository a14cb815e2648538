"""The nightly cleanup as a beat entry, the options of our tasks, and what the runner's system checks tell."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry
from django.core.checks import run_checks

import holdfast
from holdfast.errors import ConfigurationError
from holdfast.graphs import registry
from holdfast.persistence.checks import check_settings
from holdfast.runner import dispatch, tasks
from holdfast.runner.schedule import beat_schedule
from tests import celery_app as _celery_app  # noqa: F401 - a broker that answers

JUST_BEFORE, TWO = datetime(2026, 11, 30, 1, 59, tzinfo=UTC), datetime(2026, 11, 30, 2, 0, tzinfo=UTC)


def _told(code: str, *, deploy: bool = False) -> list[str]:
    found = run_checks(tags=["holdfast"], include_deployment_checks=deploy)
    return [message.msg for message in found if message.id == code]


def test_the_cleanup_is_due_at_two_in_the_morning() -> None:
    app = Celery("beats", set_as_current=False)
    (entry,) = [ScheduleEntry(name, app=app, **fields) for name, fields in beat_schedule().items()]
    assert entry.task == tasks.prune.name == "holdfast.prune"
    entry.schedule.nowfun = lambda: JUST_BEFORE
    assert entry.schedule.remaining_estimate(JUST_BEFORE).total_seconds() == 60
    entry.schedule.nowfun = lambda: TWO
    assert entry.schedule.is_due(JUST_BEFORE).is_due
    assert entry.schedule.remaining_estimate(TWO).total_seconds() == 24 * 3600


def test_the_setting_moves_it(settings: Any) -> None:
    settings.HOLDFAST = {"PRUNE_CRONTAB": "30 4 * * sun"}
    schedule = beat_schedule()["holdfast-prune"]["schedule"]
    assert (schedule.hour, schedule.minute, schedule.day_of_week) == ({4}, {30}, {0})


@pytest.mark.parametrize("line", ["", "nightly", "0 2 * *", "0 2 * * * *", "0 25 * * *", "0 2 * * someday"])
def test_p11_a_bad_cron_is_told_with_its_setting(line: str, settings: Any) -> None:
    settings.HOLDFAST = {"PRUNE_CRONTAB": line}
    with pytest.raises(
        ConfigurationError, match=r"HOLDFAST\['PRUNE_CRONTAB'\] is .* no crontab line"
    ) as told:
        beat_schedule()
    assert told.value.setting == "PRUNE_CRONTAB"
    assert _told("holdfast.E105") == [told.value.message]


def test_a_bell_is_acknowledged_late_and_stores_nothing_and_has_no_limit() -> None:
    task = tasks.run
    assert task.name == dispatch.TASK == "holdfast.run"
    assert (task.acks_late, task.reject_on_worker_lost, task.ignore_result) == (True, True, True)
    # Celery takes None for the project's own limits, and so does a worker 0 in a prefork pool: ten years are none.
    assert (task.time_limit, task.soft_time_limit, task.max_retries) == (
        dispatch.UNLIMITED,
        dispatch.UNLIMITED,
        0,
    )


def test_a_worker_that_would_hold_bells_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _told("holdfast.W101") == []
    app = SimpleNamespace(conf=SimpleNamespace(worker_prefetch_multiplier=4))
    monkeypatch.setattr(dispatch, "project_app", lambda: app)
    (told,) = _told("holdfast.W101")
    assert "worker_prefetch_multiplier is 4" in told


def test_a_graphs_backend_that_there_is_not_is_told_by_check_deploy(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    registry.all()  # what is found by discovery stays
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    settings.HOLDFAST = {}
    holdfast.register("kept-elsewhere", checkpointer="nowhere")(lambda: None)
    (told,) = _told("holdfast.E104", deploy=True)
    assert "kept-elsewhere" in told


def test_psycopg2_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db.backends.postgresql import psycopg_any

    monkeypatch.setattr(psycopg_any, "is_psycopg3", False)
    assert [message.id for message in check_settings(None)] == ["holdfast.E004"]
