"""What may be asked for: every argument of ``enqueue`` is looked at before anything is written (P11)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from holdfast.conf import settings
from holdfast.errors import InvalidInputError
from holdfast.graphs import registry
from holdfast.persistence import codec, ledger
from holdfast.persistence.encryption import bindings
from holdfast.persistence.encryption.salted import new_salt, salted, stored_config
from holdfast.persistence.ids import ThreadId, new_run_id, parse_thread_id
from holdfast.persistence.records import NewRun
from holdfast.runner.runs import arguments, going_on, rollback
from holdfast.runner.runs.arguments import When
from holdfast.runner.runs.attachments import refuse_unusable

Strategy = Literal["enqueue", "reject", "interrupt", "rollback"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One call of ``enqueue``, for ``enqueue_many``. The fields are those of ``enqueue``."""

    graph: str
    input: Any = field(default=None, repr=False)
    thread_id: str | None = None
    idempotency_key: str | None = None
    run_after: When = None
    priority: int = 0
    queue: str | None = None
    multitask_strategy: Strategy = "enqueue"
    config: Mapping[str, Any] | None = field(default=None, repr=False)
    context: Any = field(default=None, repr=False)
    metadata: Mapping[str, Any] | None = None
    deadline: When = None
    version: str | None = None


def checked(request: Request) -> NewRun:
    """What the ledger is to insert. Raises UnknownGraphError, InvalidInputError, NotSerializableError, ConfigurationError."""
    spec, limits = registry.get(request.graph, request.version), settings()
    refuse_unusable(spec)
    run_id = new_run_id()
    thread_id = ThreadId(str(run_id)) if request.thread_id is None else parse_thread_id(request.thread_id)
    if request.input is None and request.thread_id is not None:
        going_on.check(spec, thread_id)
    else:  # on a thread that has a state, what the schema requires may stand there already
        spec.check_input(request.input, partial=request.thread_id is not None and ledger.has_state(thread_id))
    if request.multitask_strategy not in get_args(Strategy):
        raise InvalidInputError(
            f"multitask_strategy is one of {', '.join(get_args(Strategy))}, not {request.multitask_strategy!r}.",
            field="multitask_strategy",
        )
    if request.multitask_strategy == "rollback":
        rollback.refuse_elsewhere(spec.name, spec.version, thread_id)
    if type(request.priority) is not int or not 0 <= request.priority <= 9:
        raise InvalidInputError("priority is a whole number from 0 (last) to 9 (first).", field="priority")
    delay, due_at = arguments.moment("run_after", request.run_after)
    deadline_delay, deadline_at = arguments.moment("deadline", request.deadline)
    if request.deadline is not None:
        arguments.refuse_past_deadline(delay, due_at, deadline_delay, deadline_at)
    sent = codec.encoded(request.input, field="input", extra=spec.allowlist)
    if sent[1] is not None and len(sent[1]) > limits.MAX_INPUT:
        raise InvalidInputError(
            f"The input takes {len(sent[1])} bytes, HOLDFAST['MAX_INPUT'] allows {limits.MAX_INPUT}: "
            "store large data elsewhere and pass a reference.",
            field="input",
        )
    context = codec.encoded(request.context, field="context", extra=spec.allowlist)
    config = arguments.config(request.config)
    metadata = arguments.plain("metadata", request.metadata)
    digest, salt = _digest(spec.name, request, sent, context, config), new_salt()
    return NewRun(
        id=run_id,
        thread_id=thread_id,
        graph=spec.name,
        version=spec.version,
        input=codec.sealed(sent, bindings.run("input", run_id)),
        context=codec.sealed(context, bindings.run("context", run_id)),
        config=stored_config(config, salt, run_id),
        metadata=metadata,
        priority=request.priority,
        queue=arguments.name("queue", request.queue, 200) or limits.QUEUE,
        multitask_strategy=request.multitask_strategy,
        idempotency_key=arguments.name("idempotency_key", request.idempotency_key, 255),
        request_digest=digest,
        request_hash=salted(digest, salt),
        delay=delay,
        due_at=due_at,
        deadline_delay=None if request.deadline is None else deadline_delay,
        deadline_at=deadline_at,
        max_crashes=spec.max_crashes or limits.MAX_CRASHES,
        history=spec.history,
    )


def _digest(
    graph: str,
    request: Request,
    sent: tuple[str, bytes | None],
    context: tuple[str, bytes | None],
    config: Mapping[str, Any],
) -> bytes:
    """Over what makes two requests the same; the times and the metadata of a retried request may differ."""
    digest = hashlib.sha256()
    for part in (graph, request.thread_id or "", sent[0], context[0], json.dumps(config, sort_keys=True)):
        digest.update(part.encode() + b"\0")
    for data in (sent[1], context[1]):
        digest.update(hashlib.sha256(data or b"").digest())
    return digest.digest()
