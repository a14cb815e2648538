"""R3, P4: an outage that an effect meets is no outcome of the effect, whatever the code around it makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from langgraph.func import entrypoint

from holdfast import task
from holdfast.errors import DatabaseUnreachableError
from holdfast.persistence.models import CheckpointWrite, Effect
from tests.integration.attempts import aexecute, claim, execute

pytestmark = pytest.mark.django_db(transaction=True)
bodies: list[str] = []


@task(effect="keyed")
def charge() -> str:
    bodies.append("charged")
    return "charged"


@task(effect="keyed")
async def acharge() -> str:
    bodies.append("charged")
    return "charged"


@entrypoint()
def careless(value: None) -> str:
    try:
        return charge().result()
    except Exception:  # as careless code does
        return "a fallback that nobody asked for"


@entrypoint()
async def acareless(value: None) -> str:
    try:
        return await acharge()
    except Exception:  # as careless code does
        return "a fallback that nobody asked for"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_r3_p4_what_careless_code_makes_of_an_outage_is_not_stored(
    stray_alias: str, asynchronous: bool
) -> None:
    bodies.clear()
    attempt = replace(claim(), alias=stray_alias)  # its ledger cannot be reached, its checkpoints can
    with pytest.raises(DatabaseUnreachableError, match="given up"):
        _execute(attempt, asynchronous)
    assert attempt.fence.broken
    assert bodies == []
    assert not Effect.objects.exists()
    assert not CheckpointWrite.objects.filter(channel__in=["__end__", "__return__"]).exists()


def _execute(attempt: Any, asynchronous: bool) -> Any:
    if asynchronous:
        return asyncio.run(aexecute(acareless, "go", attempt))
    return execute(careless, "go", attempt)
