"""Execute: run the graph of a claimed run from where it stands to where it stops.

Decides what is sent into the graph (R5, R6, R7), attaches saver, store and cache under the run's fence,
and says how it stopped. It writes nothing itself; what a node or the saver writes carries the fence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt

from holdfast import faults
from holdfast.errors import LeaseLostError, OutageError
from holdfast.graphs import registry
from holdfast.graphs.spec import GraphSpec
from holdfast.persistence import DjangoSaver, ledger
from holdfast.persistence.backends import GuardedSaver
from holdfast.persistence.records import Claim
from holdfast.runner.runs import attachments, executors, questions
from holdfast.runner.runs.attempt import Attempt, attempt_scope
from holdfast.runner.runs.exits import told_to_go
from holdfast.runner.runs.loop import OrmKeeper, loop
from holdfast.runner.runs.outcome import Drained, Failed, Finished, Interrupted, Lost, Outcome
from holdfast.runner.runs.process import Execution

AnyPregel = Pregel[Any, Any, Any, Any]

logger = logging.getLogger("holdfast.execute")

executors.install()


def execute(claim: Claim, execution: Execution) -> Outcome:
    """Run the graph until it ends, asks, fails, is drained, or the lease is lost."""
    outcome: Outcome
    try:
        spec = registry.get(claim.run.graph, claim.run.version)
        parts = attachments.of_run(spec, execution)
        graph = spec.compile().copy(parts)
        saver = attachments.guarded(parts)
        if saver is not None:
            saver.enter_if_begun()
        attempt = _attempt(claim, execution, spec, saver)
        config = _config(claim, execution, asynchronous=spec.is_async)
        with attempt_scope(attempt), _usage_told(claim, graph):
            faults.point("input-before-first-checkpoint")
            sent = _what_to_send(execution, claim, attempt.answers)
            stream = _Stream()
            arguments = {
                "context": claim.context.value,
                "stream_mode": ["updates", "values"],
                "durability": "sync",
                "control": execution.control,
            }
            if spec.is_async:
                loop().run(stream.aread(graph, sent, config, arguments))
            else:
                stream.read(graph, sent, config, arguments)
            outcome = Finished(values=stream.latest)
            if stream.interrupts:
                outcome = Interrupted(interrupts=tuple(stream.interrupts), spec=spec, saver=saver)
    except (GraphDrained, OutageError):
        # An outage that outlasts a lease is no fault of the run's: whoever reaches the database goes on.
        return Drained()
    except BaseException as error:  # the task's boundary: whatever a graph raises, an exit too, fails its run
        if told_to_go(error):
            raise
        outcome = Lost() if isinstance(error, LeaseLostError) else Failed(exception=error)
    if execution.fence.lost:
        return Lost()
    # What a task returned, raised or asked after it had been cut off between two calls is not its own word.
    return Drained() if execution.fence.abandoned or execution.fence.broken else outcome


class _Stream:
    """Reads a graph's stream: the newest values, and the interrupts that it stopped with."""

    def __init__(self) -> None:
        self.latest: Any = None
        self.interrupts: list[Interrupt] = []

    def read(self, graph: AnyPregel, sent: Any, config: RunnableConfig, arguments: Mapping[str, Any]) -> None:
        for mode, payload in graph.stream(sent, config, **arguments):
            self._take(mode, payload)

    async def aread(
        self, graph: AnyPregel, sent: Any, config: RunnableConfig, arguments: Mapping[str, Any]
    ) -> None:
        async for mode, payload in graph.astream(sent, config, **arguments):
            self._take(mode, payload)

    def _take(self, mode: str, payload: Any) -> None:
        if mode == "values":
            self.latest = payload
        elif isinstance(payload, dict) and (asked := payload.get("__interrupt__")):
            self.interrupts.extend(asked)


@contextmanager
def _usage_told(claim: Claim, graph: AnyPregel) -> Iterator[None]:
    """Log what the attempt has stored, however it ends."""
    try:
        yield
    finally:
        if isinstance(graph.checkpointer, DjangoSaver):
            logger.info("run %s of %s: %s", claim.run.id, claim.run.graph, graph.checkpointer.usage)


def _attempt(claim: Claim, execution: Execution, spec: GraphSpec, saver: GuardedSaver | None) -> Attempt:
    answers: dict[str, Any] = {}
    if claim.answers is not None:
        given = claim.answers.value or {}  # null: the state was updated instead of answering
        with ledger.pooled():
            answers = questions.to_send(claim.run.thread_id, claim.asked, given, spec.allowlist, saver)
    return Attempt(
        run_id=claim.run.id,
        thread_id=claim.run.thread_id,
        delivery=claim.run.deliveries,
        alias=ledger.alias(),
        owner=claim.run.owner or "",
        fence=execution.fence,
        control=execution.control,
        salt=claim.salt,
        answers=answers,
    )


def _what_to_send(execution: Execution, claim: Claim, answers: Mapping[str, Any]) -> Any:
    # A run without input may ask before its first checkpoint, under that of the thread that it goes on from.
    if not execution.fence.entered and claim.run.input is not None:
        return claim.run.input
    return Command(resume=dict(answers)) if answers else None


def _config(claim: Claim, execution: Execution, *, asynchronous: bool) -> RunnableConfig:
    run = claim.run
    config: dict[str, Any] = dict(claim.config)
    config["configurable"] = {
        **config.get("configurable", {}),
        "thread_id": run.thread_id,
        "run_id": str(run.id),
    }
    config["metadata"] = {
        **config.get("metadata", {}),
        "run_id": str(run.id),
        "holdfast_delivery": run.deliveries,
        "holdfast_owner": run.owner,
    }
    config["callbacks"] = [execution.timeline]
    if asynchronous:
        config["callbacks"].append(OrmKeeper())
    config["run_name"] = f"graph:{run.graph}"
    return config  # type: ignore[return-value]  # built key by key from checked input
