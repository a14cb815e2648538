"""Two apps are enough for Holdfast's tables, also on Django 6, which wants a third one for its own array field."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.core.checks import Error

from holdfast.persistence.models.arrays import Array


def test_no_table_asks_for_an_app_that_nobody_was_told_to_install() -> None:
    ours = [config for config in apps.get_app_configs() if config.name.startswith("holdfast.")]
    fields = [field for config in ours for model in config.get_models() for field in model._meta.get_fields()]
    arrays = [field for field in fields if isinstance(field, ArrayField)]
    assert arrays
    assert {type(field) for field in arrays} == {Array}


def test_only_the_word_about_the_app_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    field = apps.get_model("holdfast_persistence", "NodeCacheEntry")._meta.get_field("namespace")
    said = [Error("no app", id="postgres.E005"), Error("wrong base field", id="postgres.E001")]
    monkeypatch.setattr(ArrayField, "check", lambda _self, **_: said)
    assert [found.id for found in field.check()] == ["postgres.E001"]
