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
    ],
)
def test_wrong_settings_are_reported(settings: Any, given: dict[str, Any], code: str) -> None:
    settings.HOLDFAST = given
    assert [message.id for message in check_settings(None)] == [code]


def test_a_database_that_is_not_postgresql_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    assert [message.id for message in check_settings(None)] == ["holdfast.E003"]
