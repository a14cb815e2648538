"""How each type of value is stored: under which name, and what it is built from again.

The forms are LangGraph's, so that a stock serializer builds the same, except where its own would lose
something: the zone of a datetime, the length of a deque, objects inside of a model, which of its fields were
set. Nothing here decides what may be stored.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import ipaddress
import pathlib
import re
import uuid
from collections import deque
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
)
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.store.base import Item
from langgraph.types import Send
from pydantic import BaseModel

from holdfast.persistence.codec.form import (
    Bare,
    Derived,
    Form,
    Giver,
    Pairs,
    attributes,
    named,
    one,
    refuse,
    several,
)


def form_of(kind: type) -> Giver:
    """What gives the forms of values of that type."""
    return _EXACT.get(kind) or _found(kind)


def _record(value: Any, names: tuple[str, ...], later: tuple[str, ...]) -> Form:
    """A dataclass: the fields that its constructor takes, and those that it does not."""
    form = attributes(value, names)
    return form._replace(rest=({name: getattr(value, name) for name in later},)) if later else form


def _set(value: Any) -> Form:
    items = list(value)
    if items and type(items[0]) in (str, int, bytes) and len({type(item) for item in items}) == 1:
        items.sort()  # so that the same set has the same bytes in each process
    return one(value, items)


def _deque(value: Any) -> Form:
    return one(value, [*value]) if value.maxlen is None else several(value, [*value], value.maxlen)


def _datetime(value: Any) -> Form:
    offset = None if isinstance(value.tzinfo, ZoneInfo) else value.utcoffset() or dt.timedelta()
    # ISO format has no zones and no fold, and Python reads no offset of less than a second.
    if type(value) is dt.datetime and not value.fold and offset is not None and not offset.microseconds:
        return Form(EXT_METHOD_SINGLE_ARG, "datetime", "datetime", value.isoformat(), ("fromisoformat",))
    return attributes(value, (*("year", "month", "day"), *_TIME))


def _zone(value: Any) -> Form:
    if value.key is None:
        raise TypeError("a ZoneInfo without a key has no name to be stored under")
    return one(value, value.key)


def _send(value: Any) -> Form:
    timeout = getattr(value, "timeout", None)
    return several(value, value.node, value.arg, *(() if timeout is None else (timeout,)))


def _secret(value: Any) -> Form:
    return one(value, value.get_secret_value())


def _dumped(value: Any) -> Form:
    return named(value, value.model_dump(), EXT_PYDANTIC_V2, "model_validate_json")


def _old_model(value: Any) -> Form:
    shallow = hasattr(type(value), "__fields__")
    return named(value, dict(value.__dict__) if shallow else value.dict(), EXT_PYDANTIC_V1)


_TIME: Final = ("hour", "minute", "second", "microsecond", "tzinfo", "fold")

_EXACT: Final[dict[type, Giver]] = {
    tuple: lambda value: Form(EXT_CONSTRUCTOR_SINGLE_ARG, "builtins", "tuple", [*value]),
    Form: lambda value: value,
    Pairs: lambda value: Form(EXT_CONSTRUCTOR_SINGLE_ARG, "builtins", "dict", value.pairs),
    int: lambda value: Form(EXT_CONSTRUCTOR_SINGLE_ARG, "builtins", "int", str(value)),  # of over 64 bits
    complex: lambda value: Form(EXT_CONSTRUCTOR_POS_ARGS, "builtins", "complex", [value.real, value.imag]),
    range: lambda value: several(value, value.start, value.stop, value.step),
    re.Pattern: lambda value: Form(EXT_CONSTRUCTOR_POS_ARGS, "re", "compile", [value.pattern, value.flags]),
    _DeltaSnapshot: lambda value: Bare(EXT_DELTA_SNAPSHOT, value.value),
}

_BY_BASE: Final[tuple[tuple[Any, Giver], ...]] = (
    (Enum, lambda value: one(value, value.value)),
    (BaseException, repr),
    (pathlib.PurePath, lambda value: several(value, *value.parts)),
    (uuid.UUID, lambda value: one(value, value.hex)),
    (decimal.Decimal, lambda value: one(value, decimal.Decimal.__str__(value))),
    ((set, frozenset), _set),
    (deque, _deque),
    ((ipaddress.IPv4Address, ipaddress.IPv4Network), lambda value: one(value, str(value))),
    ((ipaddress.IPv6Address, ipaddress.IPv6Network), lambda value: one(value, str(value))),
    (dt.datetime, _datetime),
    (dt.date, lambda value: several(value, value.year, value.month, value.day)),
    (dt.time, partial(attributes, names=_TIME)),
    (dt.timedelta, lambda value: several(value, value.days, value.seconds, value.microseconds)),
    (dt.timezone, lambda value: several(value, *value.__getinitargs__())),
    (ZoneInfo, _zone),
    (Send, _send),
    (str, lambda value: Derived(one(value, str.__str__(value)), str.__str__(value))),
    (int, lambda value: Derived(one(value, int.__pos__(value)), int.__pos__(value))),
    (list, lambda value: Derived(one(value, list.copy(value)), list.copy(value))),
    (dict, lambda value: Derived(one(value, dict.copy(value)), dict.copy(value))),
    (float, lambda value: one(value, float.__pos__(value))),
    (bytes, lambda value: one(value, bytes.__add__(value, b""))),
    (tuple, lambda value: one(value, [*value])),
)

_BY_METHOD: Final[tuple[tuple[str, Giver], ...]] = (
    ("get_secret_value", _secret),
    ("model_dump", _dumped),
    ("dict", _old_model),
    ("_asdict", lambda value: named(value, value._asdict())),
)


@lru_cache(maxsize=4096)
def _found(kind: Any) -> Giver:
    package = kind.__module__.partition(".")[0]
    if package == "numpy":
        from holdfast.persistence.codec import numeric

        return numeric.giver(kind)
    if package == "pandas":
        from holdfast.persistence.codec import frames

        return frames.giver(kind)
    if issubclass(kind, BaseModel):
        from holdfast.persistence.codec.pydantic_models import form

        return form
    if issubclass(kind, Enum):
        return _BY_BASE[0][1]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return lambda value: named(value, dict(zip(value._fields, value, strict=True)))
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        later = tuple(field.name for field in fields if not field.init)
        return partial(_record, names=tuple(field.name for field in fields if field.init), later=later)
    if issubclass(kind, Item):
        slots = [name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())]
        return partial(attributes, names=tuple(slots))
    for base, giver in _BY_BASE:
        if issubclass(kind, base):
            return giver
    for method, giver in _BY_METHOD:
        if callable(getattr(kind, method, None)):
            return giver
    return refuse
