"""Which call of which effect this is: the same answer at every attempt at the run (R19).

LangGraph's id of the *called* task does not do: its call counter goes on when a retry policy
executes the calling node once more in the same process, so that the same call gets another id
(seen). So the caller is named by its own task id, and calls are counted anew for each execution of
it, separately for each function. Nothing here reads or writes a row.
"""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_TASK_ID,
)
from langgraph._internal._runnable import is_async_callable as is_async
from langgraph.config import get_config

from holdfast.errors import EffectError, NotSerializableError
from holdfast.persistence.codec import codec
from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.effects import Call, Kind, key_of
from holdfast.persistence.encryption.salted import salted
from holdfast.runner.runs.attempt import Attempt, current_attempt

__all__ = [
    "CallSite",
    "CurrentEffect",
    "call_site_of",
    "current_effect",
    "enclosing_effect",
    "executing",
    "is_async",
]

# What LangGraph hands to a body beside its arguments; never part of a call's identity.
_INJECTED = frozenset({"config", "runtime", "store", "writer"})


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentEffect:
    """What the body of an effect may know about itself."""

    key: str
    """The idempotency key: 64 hexadecimal digits, the same at every attempt at this call."""
    function: str
    kind: Kind
    attempt: int
    """1 when the body is executed for the first time; 0 where nobody counts (plain graph.invoke())."""
    task_id: str
    """LangGraph's id of the task that executes the body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSite:
    """One call, and where in which run it was made."""

    call: Call
    attempt: Attempt | None
    """None outside a run."""
    checkpoint_ns: str
    checkpoint_id: str
    """The checkpoint that the call's key hangs on; no body begins before it is durable."""
    codec: Codec
    """The saver's serializer, which knows the types of the graph's schema."""


_current: ContextVar[CurrentEffect | None] = ContextVar("holdfast_effect", default=None)


def current_effect() -> CurrentEffect:
    """The effect whose body is being executed. Raises EffectError elsewhere."""
    effect = _current.get()
    if effect is None:
        raise EffectError(
            "current_effect() was called outside of the body of a @holdfast.task.", function=None
        )
    return effect


@contextmanager
def executing(effect: CurrentEffect) -> Iterator[None]:
    """Inside, ``current_effect()`` is this one."""
    reset = _current.set(effect)
    try:
        yield
    finally:
        _current.reset(reset)


def enclosing_effect() -> CurrentEffect | None:
    """The effect whose body this code stands in; None elsewhere."""
    return _current.get()


# Calls so far, by execution of a task. The key is a function that LangGraph makes for each
# execution and that lives as long; the number is the try of a retry policy.
_calls: WeakKeyDictionary[Callable[..., Any], dict[tuple[int, str, str], int]] = WeakKeyDictionary()
_calls_lock = threading.Lock()


def call_site_of(
    function: str, kind: Kind, body: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> CallSite:
    """Identify the call that the running node, entrypoint or task body makes right now."""
    conf = get_config()[CONF]
    attempt = current_attempt()
    info = conf[CONFIG_KEY_RUNTIME].execution_info
    task_id: str = conf[CONFIG_KEY_TASK_ID]
    outer = enclosing_effect()
    caller = outer.key if outer is not None and outer.task_id == task_id else task_id
    with _calls_lock:
        counts = _calls.setdefault(conf[CONFIG_KEY_SCRATCHPAD].get_null_resume, {})
        count_key = (info.node_attempt, caller, function)
        number = counts.get(count_key, 0)
        counts[count_key] = number + 1
    thread_id = str(conf.get("thread_id") or "")
    # Among the namespaces at this checkpoint the shortest is the graph's own; the rest are its tasks'.
    spaces = [ns for ns, id_ in conf.get(CONFIG_KEY_CHECKPOINT_MAP, {}).items() if id_ == info.checkpoint_id]
    serializer = getattr(conf.get(CONFIG_KEY_CHECKPOINTER), "serde", None)
    if not isinstance(serializer, Codec):
        serializer = codec()
    named = _named(body, args, kwargs)
    scope = attempt.run_id if attempt is not None else thread_id
    return CallSite(
        call=Call(
            key=key_of(scope, caller, function, number),
            thread_id=attempt.thread_id if attempt is not None else thread_id,
            task_id=caller,
            function=function,
            call=number,
            kind=kind,
            arguments_hash=salted(_digest(named, serializer), attempt.salt if attempt is not None else ""),
            arguments=_summary(named),
        ),
        attempt=attempt,
        checkpoint_ns=min(spaces, key=len, default=""),
        checkpoint_id=info.checkpoint_id,
        codec=serializer,
    )


def _named(body: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        bound = inspect.signature(body).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):  # wrong arguments: calling the body says so better
        return {**{str(i): value for i, value in enumerate(args)}, **kwargs}
    return {name: value for name, value in bound.items() if name not in _INJECTED}


def _summary(named: Mapping[str, Any], longest: int = 500) -> str:
    """Names and types, never values."""
    text = ", ".join(f"{name}: {type(value).__name__}" for name, value in named.items())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _digest(value: Any, serializer: Codec) -> bytes:
    """32 bytes that are equal for equal values, also in another process and after a checkpoint.

    A value that cannot be stored counts with its type only. A tuple equals a list, as it becomes
    one in a checkpoint; sets and dicts have no order.
    """
    parts: list[bytes]
    if isinstance(value, Enum):
        parts = [b"enum", _name(value), value.name.encode()]
    elif value is None or isinstance(value, bool | int | float | complex):
        parts = [b"number", repr(value).encode()]
    elif isinstance(value, str):
        parts = [b"text", str(value).encode("utf-8", "surrogatepass")]
    elif isinstance(value, bytes | bytearray):
        parts = [b"bytes", bytes(value)]
    elif type(value) is dict:
        parts = [b"dict", *sorted(_digest(k, serializer) + _digest(v, serializer) for k, v in value.items())]
    elif isinstance(value, Set):
        parts = [b"set", *sorted(_digest(item, serializer) for item in value)]
    elif isinstance(value, Sequence) and type(value) in (list, tuple):
        parts = [b"list", *(_digest(item, serializer) for item in value)]
    else:
        try:
            tag, data = serializer.encode(value, field="argument")
        except NotSerializableError:
            parts = [b"opaque", _name(value)]
        else:
            parts = [tag.encode(), data]
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()


def _name(value: Any) -> bytes:
    return f"{type(value).__module__}.{type(value).__qualname__}".encode()
