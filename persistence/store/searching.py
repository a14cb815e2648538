"""The searches of a batch, as a part of its conversation: by namespace and filter, by meaning, and in what is encrypted.

The database evaluates filters, except on encrypted values, which it cannot read: those it hands over whatever
the filter says, and they are looked at here once they are open. A search with a filter therefore asks for more
than it wants, and again for four times as many until it has enough or all; each answer is of one moment.
Touches no database itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

from langgraph.store.base import SearchItem, SearchOp

from holdfast.persistence.encryption import keyring
from holdfast.persistence.store import filters, statements, values
from holdfast.persistence.store.asking import Ask, Embed, Params, Prepare, Statement, Step
from holdfast.persistence.store.index import Index
from holdfast.persistence.store.namespaces import namespace_of, namespace_text

_LEAST: Final = 50
"""How many items are asked for at first where values have to be opened to be compared."""

Numbered = Sequence[tuple[int, SearchOp]]
Found = dict[int, list[SearchItem]]
"""What each operation has found, by its position in the batch."""
AskFor = Callable[[Sequence[SearchOp], Params], tuple[Statement, Params]]


def found(ops: Numbered, common: Params, index: Index | None) -> Generator[Step, Any, Found]:
    """What each of the searches finds. Raises InvalidFilterError, DecryptionError."""
    similar = [] if index is None else [each for each in ops if each[1].query]
    plain = [each for each in ops if each not in similar]
    results: Found = {}
    if plain:
        results |= yield from _searched(
            plain, common, lambda asked, params: (statements.plain("store_search"), params)
        )
    if similar and index is not None:
        version = yield Prepare()
        vectors = yield Embed([op.query or "" for _, op in similar], questions=True)
        texts = index.texts(vectors, len(similar))
        targets = {id(op): text for (_, op), text in zip(similar, texts, strict=True)}

        def ask(asked: Sequence[SearchOp], params: Params) -> tuple[Statement, Params]:
            sizes = zip(params["limits"], params["offsets"], strict=True)
            params["embeddings"] = [targets[id(op)] for op in asked]
            # Several of an item's vectors may be near.
            params["nearest"] = [(limit + offset) * index.most_vectors * 2 + 1 for limit, offset in sizes]
            return index.search(everywhere="" in params["paths"], version=version), params

        results |= yield from _searched(similar, common, ask)
    return results


def _searched(ops: Numbered, common: Params, ask: AskFor) -> Generator[Step, Any, Found]:
    may_be_sealed = bool(keyring().ids)
    opened = [each for each in ops if may_be_sealed and each[1].filter]
    direct = [each for each in ops if each not in opened]
    results: Found = {}
    if direct:
        params = common | search_params([op for _, op in direct])
        rows = yield Ask(*ask([op for _, op in direct], params))
        results |= {
            position: [_item(row) for row in each]
            for (position, _), each in zip(direct, _by_question(rows, len(direct)), strict=True)
        }
    if opened:
        results |= yield from _opened(opened, common, ask)
    return results


def _opened(ops: Numbered, common: Params, ask: AskFor) -> Generator[Step, Any, Found]:
    """Searches whose filter is evaluated here, where values are encrypted."""
    results: Found = {}
    sizes = {position: max(2 * (op.limit + op.offset), _LEAST) for position, op in ops}
    left = list(ops)
    while left:
        asked = [op for _, op in left]
        params = common | search_params(asked)
        params["limits"] = [sizes[position] for position, _ in left]
        params["offsets"] = [0] * len(left)
        params["refresh"] = [False] * len(left)
        rows = yield Ask(*ask(asked, params))
        again = []
        for (position, op), each in zip(left, _by_question(rows, len(left)), strict=True):
            results[position] = _matching(each, op)[op.offset : op.offset + op.limit]
            if len(results[position]) < op.limit and len(each) == sizes[position]:
                sizes[position] *= 4
                again.append((position, op))
        left = again
    yield from _refreshed(ops, results, common)
    return results


def _matching(rows: Sequence[Sequence[Any]], op: SearchOp) -> list[SearchItem]:
    items = [(_item(row), values.is_sealed(row[3])) for row in rows]
    return [item for item, sealed in items if not sealed or filters.matches(op.filter or {}, item.value)]


def _refreshed(
    ops: Numbered, results: Mapping[int, list[SearchItem]], common: Params
) -> Generator[Step, Any, None]:
    """Prolong the lives of what has been found, as the statement that searches would have done."""
    items = [item for position, op in ops if op.refresh_ttl for item in results[position]]
    if items:
        yield Ask(
            statements.plain("store_get"),
            common
            | {
                "prefixes": [namespace_text(item.namespace) for item in items],
                "keys": [item.key for item in items],
                "refresh": [True] * len(items),
            },
        )


def _by_question(rows: Sequence[Sequence[Any]], count: int) -> list[list[Sequence[Any]]]:
    answers: list[list[Sequence[Any]]] = [[] for _ in range(count)]
    for position, *row in rows:
        answers[position - 1].append([position, *row])
    return answers


def _item(row: Sequence[Any]) -> SearchItem:
    _, prefix, key, value, created_at, updated_at, score = row
    return SearchItem(
        namespace=namespace_of(prefix),
        key=key,
        value=values.unseal(value, prefix, key),
        created_at=created_at,
        updated_at=updated_at,
        score=score,
    )


def search_params(ops: Sequence[SearchOp]) -> Params:
    """What statements that search have in common. Raises InvalidFilterError."""
    compiled = [filters.compiled(op.filter) for op in ops]
    return {
        "paths": [namespace_text(op.namespace_prefix) for op in ops],
        "equal": [each.equal for each in compiled],
        "conditions": [each.conditions for each in compiled],
        "limits": [op.limit for op in ops],
        "offsets": [op.offset for op in ops],
        "refresh": [bool(op.refresh_ttl) for op in ops],
    }
