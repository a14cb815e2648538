"""What may be asked for: every argument of ``enqueue`` is looked at before anything is written (P11)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from holdfast.conf import settings
from holdfast.errors import InvalidInputError
from holdfast.graphs import registry
from holdfast.persistence import codec, ledger
from holdfast.persistence.encryption import places
from holdfast.persistence.encryption.salted import new_salt, salted, stored_config
from holdfast.persistence.ids import ThreadId, new_run_id, parse_thread_id
from holdfast.persistence.jsonb import storable
from holdfast.persistence.records import NewRun
from holdfast.runner.runs import rollback

Strategy = Literal["enqueue", "reject", "interrupt", "rollback"]
When = datetime | timedelta | float | None

MAX_DELAY = 10 * 365 * 86400.0  # seconds; further away is a mistake
RESERVED = ("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "run_id")


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
    """What the ledger is to insert. Raises UnknownGraphError, InvalidInputError, NotSerializableError."""
    spec, limits = registry.get(request.graph, request.version), settings()
    run_id = new_run_id()
    thread_id = ThreadId(str(run_id)) if request.thread_id is None else parse_thread_id(request.thread_id)
    # On a thread that has a state, what the schema requires may stand there already.
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
    delay, due_at = _when("run_after", request.run_after)
    deadline_delay, deadline_at = _when("deadline", request.deadline)
    if request.deadline is not None:
        _refuse_past_deadline(delay, due_at, deadline_delay, deadline_at)
    sent = codec.encoded(request.input, field="input", extra=spec.allowlist)
    if sent[1] is not None and len(sent[1]) > limits.MAX_INPUT:
        raise InvalidInputError(
            f"The input takes {len(sent[1])} bytes, HOLDFAST['MAX_INPUT'] allows {limits.MAX_INPUT}: "
            "store large data elsewhere and pass a reference.",
            field="input",
        )
    context = codec.encoded(request.context, field="context", extra=spec.allowlist)
    config = _config(request.config)
    metadata = _plain("metadata", request.metadata)
    digest, salt = _digest(spec.name, request, sent, context, config), new_salt()
    return NewRun(
        id=run_id,
        thread_id=thread_id,
        graph=spec.name,
        version=spec.version,
        input=codec.sealed(sent, places.run("input", run_id)),
        context=codec.sealed(context, places.run("context", run_id)),
        config=stored_config(config, salt, run_id),
        metadata=metadata,
        priority=request.priority,
        queue=_name("queue", request.queue, 200) or limits.QUEUE,
        multitask_strategy=request.multitask_strategy,
        idempotency_key=_name("idempotency_key", request.idempotency_key, 255),
        request_digest=digest,
        request_hash=salted(digest, salt),
        delay=delay,
        due_at=due_at,
        deadline_delay=None if request.deadline is None else deadline_delay,
        deadline_at=deadline_at,
        max_crashes=spec.max_crashes or limits.MAX_CRASHES,
        history=spec.history,
    )


def _when(field_name: str, value: When) -> tuple[float | None, datetime | None]:
    """A delay in seconds, or a moment; exactly one of them."""
    if value is None:
        return 0.0, None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidInputError(
                f"{field_name} needs a time zone: use an aware datetime.", field=field_name
            )
        if not 2000 <= value.year <= 2200:
            raise InvalidInputError(f"{field_name} is in the year {value.year}.", field=field_name)
        return None, value
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(
            f"{field_name} is a datetime, a timedelta or seconds, not {type(value).__name__}.",
            field=field_name,
        )
    if not 0 <= value <= MAX_DELAY:  # NaN fails too
        raise InvalidInputError(
            f"{field_name} is {value} seconds; it must lie between 0 and ten years.", field=field_name
        )
    return float(value), None


def _refuse_past_deadline(
    delay: float | None, due_at: datetime | None, deadline_delay: float | None, deadline_at: datetime | None
) -> None:
    """A deadline that no execution can meet is a mistake; this process's clock is good enough to see it."""
    now = datetime.now(UTC)
    due = max(now, due_at) if due_at else now + timedelta(seconds=delay or 0.0)
    if (deadline_at or now + timedelta(seconds=deadline_delay or 0.0)) <= due:
        raise InvalidInputError(
            "deadline lies in the past, or not after run_after: the run could only fail.", field="deadline"
        )


_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # and lone surrogates, which have no UTF-8


def _name(field_name: str, value: str | None, longest: int) -> str | None:
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= longest or _CONTROL.search(value):
        raise InvalidInputError(
            f"{field_name} is a str of 1 to {longest} characters without control characters.",
            field=field_name,
        )
    return value


def _plain(field_name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        text = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{field_name} must be JSON: {error}.", field=field_name) from None
    plain = dict(json.loads(text))
    if storable(plain) != plain:
        raise InvalidInputError(
            f"{field_name} contains a NUL character or a lone surrogate, which cannot be stored.",
            field=field_name,
        )
    return plain


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


_CONFIG_TYPES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("configurable", lambda value: isinstance(value, dict), "a mapping"),
    ("metadata", lambda value: isinstance(value, dict), "a mapping"),
    (
        "tags",
        lambda value: isinstance(value, list) and all(isinstance(tag, str) for tag in value),
        "a list of str",
    ),
    ("recursion_limit", _is_count, "a whole number from 1"),
    ("max_concurrency", _is_count, "a whole number from 1"),
)


def _config(value: Mapping[str, Any] | None) -> dict[str, Any]:
    config = _plain("config", value)
    if unknown := sorted(
        set(config) - {"configurable", "tags", "metadata", "recursion_limit", "max_concurrency"}
    ):
        raise InvalidInputError(
            f"config has no {unknown[0]!r}; it takes configurable, tags, metadata, recursion_limit and "
            "max_concurrency.",
            field=f"config.{unknown[0]}",
        )
    for key, fits, kind in _CONFIG_TYPES:
        if key in config and not fits(config[key]):
            raise InvalidInputError(f"config.{key} is {kind}.", field=f"config.{key}")
    for key in config.get("configurable", {}):
        if key in RESERVED or key.startswith("__"):
            raise InvalidInputError(
                f"config.configurable.{key} is set by Holdfast.", field=f"config.configurable.{key}"
            )
    return config


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
