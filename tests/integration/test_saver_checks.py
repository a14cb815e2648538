"""The system checks of the database alias."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from holdfast.persistence.checks import check_settings


def test_a_healthy_project_has_nothing_to_report() -> None:
    assert check_settings(None) == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"DATABASE": "nowhere"}, "holdfast.E002"),
        ({"NO_SUCH": 1}, "holdfast.E001"),
        ({"SERIALIZABLE": ["os.nothing"]}, "holdfast.E001"),
        ({"LEASE": "15"}, "holdfast.E001"),
        ({"MAX_CRASHES": True}, "holdfast.E001"),
        ({"SWEEP": -1}, "holdfast.E001"),
        ({"LEASE": float("nan")}, "holdfast.E001"),
        (None, "holdfast.E001"),
        ([("DATABASE", "default")], "holdfast.E001"),
        ({1: 2}, "holdfast.E001"),
        ({"LEASE": float("inf")}, "holdfast.E001"),
        ({"HEARTBEAT": 0}, "holdfast.E001"),
        ({"LOCK_TIMEOUT": 0.0}, "holdfast.E001"),
        ({"IDLE_IN_TRANSACTION": 0}, "holdfast.E001"),
        ({"POOL_SIZE": 0}, "holdfast.E001"),
        ({"MAX_CRASHES": 0}, "holdfast.E001"),
        ({"RETENTION": {"batch": 0}}, "holdfast.E001"),
        ({"QUEUE": 3}, "holdfast.E001"),
        ({"COMMIT": "off"}, "holdfast.E001"),
        ({"RETENTION": {"keep": 3}}, "holdfast.E001"),
        ({"RETENTION": {"max_age": "30 days"}}, "holdfast.E001"),
    ],
)
def test_wrong_settings_are_reported(settings: Any, given: Any, code: str) -> None:
    settings.HOLDFAST = given
    assert [message.id for message in check_settings(None)] == [code]


def test_settings_of_every_type_are_read(settings: Any) -> None:
    settings.HOLDFAST = {
        "LEASE": 20,
        "QUEUE": None,
        "COMMIT": "relaxed",
        "SERIALIZABLE": ["uuid.UUID"],
        "RETENTION": {"max_age": None, "keep_last": 3, "orphans": False},
    }
    assert check_settings(None) == []


def test_a_database_that_is_not_postgresql_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    assert [message.id for message in check_settings(None)] == ["holdfast.E003"]
