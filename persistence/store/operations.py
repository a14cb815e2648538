"""A batch of store operations as a conversation: which statements to execute, and what their rows mean.

It is the same for threads and for asyncio tasks: whoever drives the conversation executes what it is handed,
and sends the answer back. There is one statement a kind of operation, however many there are, and in upstream's order:
first all that read, which see nothing of the batch's own writes, then all writes in one. Of two writes of one
item the later counts. Touches no database itself.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, LiteralString, NamedTuple

from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)

from holdfast.errors import InvalidInputError
from holdfast.persistence.fence import Fence
from holdfast.persistence.sql import query
from holdfast.persistence.store import filters, values
from holdfast.persistence.store.index import Index
from holdfast.persistence.store.namespaces import checked_text, namespace_of, namespace_text, patterns

Params = dict[str, Any]
Statement = LiteralString | bytes
Numbered = Sequence[tuple[int, Any]]
_UNFENCED: Params = {"run_id": None, "token": None}


class Ask(NamedTuple):
    """Execute it; the answer is its rows."""

    statement: Statement
    params: Params


class Embed(NamedTuple):
    """Turn the texts into vectors, which are the answer; a question's are embedded as such."""

    texts: list[str]
    questions: bool


class Prepare(NamedTuple):
    """See to it that the index's tables are there; the answer is the version of pgvector."""


Step = Ask | Embed | Prepare
Conversation = Generator[Step, Any, list[Result]]
Part = Generator[Step, Any, None]


class Batch:
    """The operations of one batch, by kind, and their results."""

    def __init__(
        self, ops: Sequence[Op], *, fence: Fence | None, omit_expired: bool, index: Index | None = None
    ) -> None:
        """Raises InvalidNamespaceError, InvalidInputError."""
        self._index = index
        self._results: list[Result] = [None] * len(ops)
        self._fence = fence
        self._common = {"omit_expired": omit_expired, **(fence.params if fence else _UNFENCED)}
        self._by_kind: dict[type[Any], list[tuple[int, Any]]] = {}
        for position, op in enumerate(ops):
            validate_op_namespace(op)
            self._by_kind.setdefault(type(op), []).append((position, op))
        if unknown := set(self._by_kind) - {GetOp, SearchOp, ListNamespacesOp, PutOp}:
            raise InvalidInputError(f"The store knows no {unknown.pop().__name__}.", field="ops")

    def conversation(self) -> Conversation:
        """To be driven to its end, which returns the results. Raises LeaseLostError (P2), InvalidInputError."""
        for kind, part in (
            (GetOp, self._get),
            (SearchOp, self._search),
            (ListNamespacesOp, self._list),
            (PutOp, self._put),
        ):
            if ops := self._by_kind.get(kind):
                yield from part(ops)
        return self._results

    def _get(self, ops: Numbered) -> Part:
        params = self._common | {
            "prefixes": [namespace_text(op.namespace) for _, op in ops],
            "keys": [checked_text(op.key, "key") for _, op in ops],
            "refresh": [bool(op.refresh_ttl) for _, op in ops],
        }
        for position, prefix, key, value, created_at, updated_at in (yield Ask(query("store_get"), params)):
            self._results[ops[position - 1][0]] = Item(
                value=values.unseal(value),
                key=key,
                namespace=namespace_of(prefix),
                created_at=created_at,
                updated_at=updated_at,
            )

    def _search(self, ops: Numbered) -> Part:
        similar = [] if self._index is None else [each for each in ops if each[1].query]
        plain = [each for each in ops if each not in similar]
        if plain:
            params = self._common | search_params([op for _, op in plain])
            self._found(plain, (yield Ask(query("store_search"), params)))
        if similar and self._index is not None:
            params = self._common | search_params([op for _, op in similar])
            version = yield Prepare()
            vectors = yield Embed([op.query for _, op in similar], questions=True)
            params["embeddings"] = self._index.texts(vectors, len(similar))
            params["nearest"] = [
                (op.limit + op.offset) * self._index.most_vectors * 2 + 1 for _, op in similar
            ]
            statement = self._index.search(everywhere="" in params["paths"], version=version)
            self._found(similar, (yield Ask(statement, params)))

    def _found(self, ops: Numbered, rows: Sequence[tuple[Any, ...]]) -> None:
        found: list[list[SearchItem]] = [[] for _ in ops]
        for position, prefix, key, value, created_at, updated_at, score in rows:
            found[position - 1].append(
                SearchItem(
                    namespace=namespace_of(prefix),
                    key=key,
                    value=values.unseal(value),
                    created_at=created_at,
                    updated_at=updated_at,
                    score=score,
                )
            )
        for (position, _), items in zip(ops, found, strict=True):
            self._results[position] = items

    def _list(self, ops: Numbered) -> Part:
        params = {
            "omit_expired": self._common["omit_expired"],
            "patterns": [values.json_text(patterns(op), "match_conditions") for _, op in ops],
            "depths": [op.max_depth for _, op in ops],
            "limits": [op.limit for _, op in ops],
            "offsets": [op.offset for _, op in ops],
        }
        found: list[list[tuple[str, ...]]] = [[] for _ in ops]
        for position, namespace in (yield Ask(query("store_namespaces"), params)):
            found[position - 1].append(namespace_of(namespace))
        for (position, _), namespaces in zip(ops, found, strict=True):
            self._results[position] = namespaces

    def _put(self, ops: Numbered) -> Part:
        last = last_of_each(ops)
        params = self._common | put_params(last)
        statement: Statement = query("store_put")
        if self._index is not None and params["keys"]:
            vectors = self._index.vectors(last)
            yield Prepare()
            embedded = (yield Embed([each.text for each in vectors], questions=False)) if vectors else []
            params |= {
                "v_prefixes": [each.prefix for each in vectors],
                "v_keys": [each.key for each in vectors],
                "v_fields": [each.field for each in vectors],
                "v_embeddings": self._index.texts(embedded, len(vectors)),
            }
            statement = self._index.put()
        rows = yield Ask(statement, params)
        if self._fence is not None:
            self._fence.check(rows[0][0])


def last_of_each(ops: Numbered) -> list[PutOp]:
    """The last write of each item, in the order of the first."""
    return list({(op.namespace, op.key): op for _, op in ops}.values())


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


def put_params(ops: Sequence[PutOp]) -> Params:
    """What statements that write items have in common. Raises NotSerializableError, InvalidInputError."""
    gone = [op for op in ops if op.value is None]
    kept = [op for op in ops if op.value is not None]
    return {
        "gone_prefixes": [namespace_text(op.namespace) for op in gone],
        "gone_keys": [checked_text(op.key, "key") for op in gone],
        "prefixes": [namespace_text(op.namespace) for op in kept],
        "keys": [checked_text(op.key, "key") for op in kept],
        "values": [values.seal(op.value or {}, f"item {op.key!r}") for op in kept],
        "minutes": [None if op.ttl is None else float(op.ttl) for op in kept],
    }
