"""The filter of a search as parameters: conditions that the statement evaluates, never a part of its text.

``matches`` says the same of a value that was encrypted, which no statement can look at.

Putting filters into the text has let callers read others' data (CVE-2025-64104, CVE-2025-67644).
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from holdfast.errors import InvalidFilterError
from holdfast.persistence.store.namespaces import checked_text
from holdfast.persistence.store.values import json_text

OPERATORS: Final = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
_ORDER: Final = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


class Filter(NamedTuple):
    """JSON texts: what the value contains, and a list of [key, operator, operand]."""

    equal: str
    conditions: str


def compiled(given: Mapping[str, Any] | None) -> Filter:
    """The filter's parameters. Raises InvalidFilterError, InvalidInputError."""
    equal: dict[str, Any] = {}
    conditions: list[tuple[str, str, Any]] = []
    for key, comparison, operand in _conditions(given or {}):
        checked_text(key, "filter")
        if comparison not in OPERATORS:
            raise InvalidFilterError(
                f"filter[{key!r}]: Unsupported operator: {comparison!r}; known are {', '.join(OPERATORS)}. "
                'A dict is compared whole with {"$eq": …}.',
                field="filter",
            )
        json_text(operand, f"filter[{key!r}]")
        if comparison == "$eq":
            equal[key] = operand
            if not isinstance(operand, (dict, list, tuple)):
                continue  # of what is neither, containing it is being equal to it
        conditions.append((key, comparison, operand))
    return Filter(json.dumps(equal), json.dumps(conditions))


def matches(given: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Whether the value meets the filter, as the statement would say; texts are ordered by code point.

    Raises InvalidFilterError where lists or dicts are to be ordered, which only the database does.
    """
    return all(
        key in value and _holds(value[key], comparison, operand)
        for key, comparison, operand in _conditions(given)
    )


def _conditions(given: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for key, wanted in given.items():
        for comparison, operand in wanted.items() if isinstance(wanted, dict) else [("$eq", wanted)]:
            yield key, comparison, operand


def _holds(value: Any, comparison: str, operand: Any) -> bool:
    if comparison in ("$eq", "$ne"):
        return _same(value, operand) == (comparison == "$eq")
    if _sort(value) != _sort(operand):
        return False
    if isinstance(operand, (dict, list, tuple)):
        raise InvalidFilterError(
            f"{comparison} orders no lists or dicts where values are encrypted; $eq and $ne compare them.",
            field="filter",
        )
    if operand is None:
        return comparison in ("$gte", "$lte")
    return bool(_ORDER[comparison](value, operand))


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0 and not true."""
    if _sort(one) != _sort(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _sort(value: Any) -> str:
    """What JSON calls it."""
    if value is None or isinstance(value, (bool, str, dict)):
        return type(value).__name__
    return "list" if isinstance(value, (list, tuple)) else "number"
