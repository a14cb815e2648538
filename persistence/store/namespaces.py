"""Namespaces as upstream writes them: labels joined by dots; and the patterns that find them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langgraph.store.base import ListNamespacesOp, MatchCondition

from holdfast.errors import InvalidInputError
from holdfast.persistence.jsonb import is_storable

Namespace = tuple[str, ...]


def namespace_text(namespace: Sequence[str]) -> str:
    """The column ``prefix``. Raises InvalidInputError for what text cannot hold."""
    return checked_text(".".join(namespace), "namespace")


def namespace_of(text: str) -> Namespace:
    """The namespace of a column ``prefix``."""
    return tuple(text.split("."))


def checked_text(text: object, field: str) -> str:
    """The text itself, if PostgreSQL can hold it. Raises InvalidInputError."""
    if not isinstance(text, str):
        raise InvalidInputError(f"{field}: {text!r} is a {type(text).__name__}, not a text.", field=field)
    if not is_storable(text):
        raise InvalidInputError(
            f"{field}: {text!r} has a NUL or half a surrogate pair, which PostgreSQL does not store.",
            field=field,
        )
    return text


def patterns(op: ListNamespacesOp) -> list[str]:
    """Regular expressions that all have to match a namespace's text. Raises InvalidInputError."""
    return [_pattern(condition) for condition in op.match_conditions or () if condition.path]


def _pattern(condition: MatchCondition) -> str:
    # "*" stands for one label, whatever it is; a prefix and a suffix end at a label's border.
    body = r"\.".join("[^.]+" if label == "*" else re.escape(label) for label in condition.path)
    checked_text(body, "match_conditions")
    if condition.match_type == "prefix":
        return rf"^{body}(\.|\Z)"
    if condition.match_type == "suffix":
        return rf"(^|\.){body}\Z"
    raise InvalidInputError(
        f'match_conditions: {condition.match_type!r} is neither "prefix" nor "suffix".',
        field="match_conditions",
    )
