"""The identity of a call: equal where the call is, and silent about its values (R19)."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from holdfast import current_effect
from holdfast.errors import EffectError
from holdfast.persistence.codec import codec
from holdfast.persistence.effects import key_of
from holdfast.runner.effects.identity import _digest, _named, _summary


class Colour(Enum):
    RED = 1
    BLUE = 2


def digest(value: Any) -> bytes:
    return _digest(value, codec())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, [2, (3,)]), [1, (2, [3])]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"x", "y", "z"}, {"z", "y", "x"}),
        (HumanMessage("hi", id="1"), HumanMessage("hi", id="1")),
        (object(), object()),
    ],
)
def test_equal_arguments_have_equal_digests(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, True),
        (None, "None"),
        (["ab"], ["a", "b"]),
        ({"a": "b"}, ["a", "b"]),
        (b"x", "x"),
        (Colour.RED, Colour.BLUE),
        (HumanMessage("hi", id="1"), HumanMessage("ho", id="1")),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    ],
)
def test_different_arguments_have_different_digests(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_a_digest_is_the_same_in_another_process_with_other_hash_seeds() -> None:
    code = (
        "import os, django; django.setup()\n"
        "from holdfast.persistence.codec import codec\n"
        "from holdfast.runner.effects.identity import _digest\n"
        "print(_digest({'s': {'a', 'b', 'c', 'd'}, 'f': frozenset('xyz')}, codec()).hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_the_summary_names_types_and_never_values() -> None:
    def send(to: str, *rest: Any, config: Any = None, **more: Any) -> None: ...

    named = _named(send, ("ada", 1), {"token": "s3cret", "config": {"x": 1}})
    assert _summary(named) == "to: str, rest: tuple, more: dict"
    assert len(_summary({f"argument{i}": i for i in range(999)})) == 500


def test_a_key_differs_with_each_of_its_parts() -> None:
    parts = [
        ("run", "task", "f", 0),
        ("ruN", "task", "f", 0),
        ("run", "tasK", "f", 0),
        ("run", "task", "F", 0),
    ]
    assert len({key_of(*part) for part in [*parts, ("run", "task", "f", 1)]}) == 5
    assert key_of(*parts[0]) == key_of(*parts[0])


def test_current_effect_outside_of_a_body_is_an_error() -> None:
    with pytest.raises(EffectError, match="outside"):
        current_effect()
