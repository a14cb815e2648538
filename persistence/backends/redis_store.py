"""RedisStore, whose search takes namespaces for words (langgraph-checkpoint-redis 0.5.2).

For it ``Users`` is ``users`` and ``words`` is ``word``: what is put under one replaces the other's; ``the`` is no word
at all; under ``a`` there is what is under ``ab``; and with RediSearch 2 nothing is found by ``get`` under a namespace of
two parts. So a namespace goes to it as one word that is like no other, and is read back from that. It also filters
only what a page has, and lists the namespaces of ten items: both are done here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)
from langgraph.store.redis import RedisStore

Namespace = tuple[str, ...]

_PAGE: Final = 1000
_ENDS: Final = "z"  # no hexadecimal digit: a label is no beginning of another
_EMPTY: Final = "x"


class Store(RedisStore):
    """Thread-safe as the client is."""

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        return [self._one(op) for op in ops]

    def _one(self, op: Op) -> Result:
        if isinstance(op, GetOp | PutOp):
            (found,) = super().batch([op._replace(namespace=(_word(op.namespace),))])
            return _named(found) if isinstance(found, Item) else None
        if isinstance(op, ListNamespacesOp):
            return self._namespaces(op)
        assert isinstance(op, SearchOp)
        if not op.filter:
            return [_named(each) for each in self._page(op, op.limit, op.offset)]
        matching = (each for each in self._all(op) if _matches(each.value, op.filter))
        return [each for place, each in enumerate(matching) if op.offset <= place < op.offset + op.limit]

    def _all(self, op: SearchOp) -> Iterator[SearchItem]:
        offset = 0
        while found := self._page(op, _PAGE, offset):
            yield from map(_named, found)
            offset += len(found)

    def _page(self, op: SearchOp, limit: int, offset: int) -> list[SearchItem]:
        prefix = (_word(op.namespace_prefix),) if op.namespace_prefix else ()
        asked = op._replace(namespace_prefix=prefix, filter=None, limit=limit, offset=offset)
        (found,) = super().batch([asked])
        return found  # type: ignore[return-value]  # a search gives a list of items

    def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        everything = SearchOp(namespace_prefix=(), refresh_ttl=False)
        found = {each.namespace for each in self._all(everything)}
        fit = {each[: op.max_depth] for each in found if _fits(each, op.match_conditions or ())}
        return sorted(fit)[op.offset : op.offset + op.limit]


def _word(namespace: Namespace) -> str:
    return _EMPTY + "".join(label.encode().hex() + _ENDS for label in namespace)


def _labels(word: str) -> Namespace:
    return tuple(bytes.fromhex(label).decode() for label in word[1:].split(_ENDS)[:-1])


def _named(item: Any) -> Any:
    item.namespace = _labels(item.namespace[0])
    return item


def _matches(value: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(_fulfils(value.get(name), condition) for name, condition in wanted.items())


def _fulfils(value: Any, wanted: Any) -> bool:
    if not (isinstance(wanted, dict) and any(key.startswith("$") for key in wanted)):
        return bool(value == wanted)
    return all(_COMPARED[operator](value, bound) for operator, bound in wanted.items())


def _ordered(compare: Any) -> Any:
    def fulfils(value: Any, bound: Any) -> bool:
        try:
            return value is not None and bool(compare(value, bound))
        except TypeError:  # a text is neither more nor less than a number
            return False

    return fulfils


_COMPARED: Final[dict[str, Any]] = {
    "$eq": lambda value, bound: value == bound,
    "$ne": lambda value, bound: value != bound,
    "$gt": _ordered(lambda value, bound: value > bound),
    "$gte": _ordered(lambda value, bound: value >= bound),
    "$lt": _ordered(lambda value, bound: value < bound),
    "$lte": _ordered(lambda value, bound: value <= bound),
}


def _fits(namespace: Namespace, conditions: Iterable[MatchCondition]) -> bool:
    for condition in conditions:
        path = tuple(condition.path)
        part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[-len(path) :]
        if path and not (
            len(part) == len(path)
            and all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))
        ):
            return False
    return True
