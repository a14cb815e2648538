"""What the protocols of the effects are made of: steps, and what each does to the ledger.

A protocol is a generator that yields ``Io`` and ``Body`` and receives what they return or raise, so
that it is written once for sync and async bodies; ``guard`` performs the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph._internal._constants import CONF, CONFIG_KEY_TASK_ID
from langgraph.config import get_config

from holdfast.conf import settings
from holdfast.errors import EffectRefusedError
from holdfast.faults import point
from holdfast.persistence import effects as ledger
from holdfast.persistence.encryption import bindings
from holdfast.runner.effects.identity import CallSite, CurrentEffect
from holdfast.runner.runs.attempt import Attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """One call that is to be executed under guard."""

    site: CallSite
    args: tuple[Any, ...] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)
    reconcile: Callable[..., Any] | None

    def effect(self, attempt: int) -> CurrentEffect:
        """What the body is told. Called inside the task that executes it."""
        call = self.site.call
        task_id = get_config()[CONF][CONFIG_KEY_TASK_ID]
        return CurrentEffect(
            key=call.key, function=call.function, kind=call.kind, attempt=attempt, task_id=task_id
        )


@dataclass(frozen=True, slots=True)
class Io:
    """A step that waits for the database."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Body:
    """A step in the user's code: the body, or ``work`` in its place, with the effect set."""

    effect: CurrentEffect
    work: Callable[[], Any] | None = None


Steps = Generator[Io | Body, Any, Any]


def begin(site: CallSite, attempt: Attempt) -> ledger.Record | int:
    """Announce the effect once its checkpoint is durable: the attempt's number, or the row that forbids it."""
    wait_durable(site, attempt)
    point("effect-before-begin")
    begun = ledger.begin(attempt.alias, attempt.fence, site.call)
    point("effect-after-begin")
    return begun


def finish(site: CallSite, attempt: Attempt, value: Any, answers: int = 0) -> None:
    """Record that it happened, and with what result."""
    point("effect-after-body")
    type_, data = dumps(site, value)
    ledger.finish(attempt.alias, attempt.fence, site.call.key, type_, data, answers)
    point("effect-after-commit")


def dumps(site: CallSite, value: Any) -> tuple[str, bytes]:
    """Type tag and bytes of a result. Raises NotSerializableError, which names the function."""
    where = bindings.effect("result", site.call.key)
    return site.codec.dump_field(value, field=f"result of {site.call.function}", binding=where)


def loads(site: CallSite, record: ledger.Record) -> Any:
    """The recorded result. Raises TypeNotAllowedError, DecryptionError."""
    where = bindings.effect("result", site.call.key)
    return site.codec.loads_typed((record.result_type or "null", bytes(record.result or b"")), where)


def wait_durable(site: CallSite, attempt: Attempt) -> None:
    """Wait until the checkpoint that the key hangs on is stored (R19). Raises LeaseLostError, EffectRefusedError."""
    seconds = settings().LEASE
    durable = attempt.fence.wait_durable(site.checkpoint_ns, site.checkpoint_id, seconds)
    if attempt.fence.lost:
        attempt.fence.refuse()
    if not durable:
        raise EffectRefusedError(
            f"{site.call.function}: the checkpoint before it was not stored within {seconds:g} s. Without it the "
            "effect could not be recognised after a crash. A subgraph that calls effects must not be compiled "
            "with checkpointer=False.",
            function=site.call.function,
        )
