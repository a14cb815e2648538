"""The filter of a search as parameters: conditions that the statement evaluates, never a part of its text.

Putting filters into the text has let callers read others' data (CVE-2025-64104, CVE-2025-67644).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from holdfast.errors import InvalidFilterError
from holdfast.persistence.store.namespaces import checked_text
from holdfast.persistence.store.values import json_text

OPERATORS: Final = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")


class Filter(NamedTuple):
    """JSON texts: what the value contains, and a list of [key, operator, operand]."""

    equal: str
    conditions: str


def compiled(given: Mapping[str, Any] | None) -> Filter:
    """The filter's parameters. Raises InvalidFilterError, InvalidInputError."""
    equal: dict[str, Any] = {}
    conditions: list[tuple[str, str, Any]] = []
    for key, wanted in (given or {}).items():
        checked_text(key, "filter")
        operations = wanted.items() if isinstance(wanted, dict) else [("$eq", wanted)]
        for operator, operand in operations:
            if operator not in OPERATORS:
                raise InvalidFilterError(
                    f"filter[{key!r}]: Unsupported operator: {operator!r}; known are {', '.join(OPERATORS)}. "
                    'A dict is compared whole with {"$eq": …}.',
                    field="filter",
                )
            json_text(operand, f"filter[{key!r}]")
            if operator == "$eq":
                equal[key] = operand
                if not isinstance(operand, (dict, list, tuple)):
                    continue  # of what is neither, containing it is being equal to it
            conditions.append((key, operator, operand))
    return Filter(json.dumps(equal), json.dumps(conditions))
