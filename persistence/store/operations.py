"""A batch of store operations as a conversation: which statements to execute, and what their rows mean.

It is the same for threads and for asyncio tasks: whoever drives the conversation executes what it is handed,
and sends the answer back. There is one statement a kind of operation, however many there are, and in upstream's order:
first all that read, which see nothing of the batch's own writes, then all writes in one. Of two writes of one
item the later counts. Touches no database itself.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    validate_op_namespace,
)

from holdfast.errors import InvalidInputError
from holdfast.persistence.encryption import keyring
from holdfast.persistence.fence import Fence
from holdfast.persistence.sql import query
from holdfast.persistence.store import searching, statements, values
from holdfast.persistence.store.asking import Ask, Embed, Params, Prepare, Step
from holdfast.persistence.store.index import Index
from holdfast.persistence.store.namespaces import checked_text, namespace_of, namespace_text, patterns

Numbered = Sequence[tuple[int, Any]]
LARGEST_PAGE = 2**31 - 1
"""A larger limit or offset means the same as this one, of which sums and products still fit a bigint."""
_UNFENCED: Params = {"run_id": None, "token": None}


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
            if isinstance(op, SearchOp | ListNamespacesOp):
                op = _paged(op)
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
        for position, prefix, key, value, created_at, updated_at in (
            yield Ask(statements.plain("store_get"), params)
        ):
            self._results[ops[position - 1][0]] = Item(
                value=values.unseal(value, prefix, key),
                key=key,
                namespace=namespace_of(prefix),
                created_at=created_at,
                updated_at=updated_at,
            )

    def _search(self, ops: Numbered) -> Part:
        found = yield from searching.found(ops, self._common, self._index)
        for position, items in found.items():
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
        statement = statements.plain("store_put")
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


def _paged(op: SearchOp | ListNamespacesOp) -> SearchOp | ListNamespacesOp:
    """The operation with a page that fits PostgreSQL. Raises InvalidInputError."""
    for field in ("limit", "offset"):
        value = getattr(op, field)
        if type(value) is not int or value < 0:
            raise InvalidInputError(f"{field}: {value!r} is no whole number, zero or more.", field=field)
    return op._replace(limit=min(op.limit, LARGEST_PAGE), offset=min(op.offset, LARGEST_PAGE))


def last_of_each(ops: Numbered) -> list[PutOp]:
    """The last write of each item, in the order of the first."""
    return list({(op.namespace, op.key): op for _, op in ops}.values())


def put_params(ops: Sequence[PutOp]) -> Params:
    """What statements that write items have in common. Raises NotSerializableError, InvalidInputError."""
    gone = [op for op in ops if op.value is None]
    kept = [op for op in ops if op.value is not None]
    ring = keyring()
    return {
        "gone_prefixes": [namespace_text(op.namespace) for op in gone],
        "gone_keys": [checked_text(op.key, "key") for op in gone],
        "prefixes": [namespace_text(op.namespace) for op in kept],
        "keys": [checked_text(op.key, "key") for op in kept],
        "values": [values.seal(op.value or {}, namespace_text(op.namespace), op.key, ring) for op in kept],
        "minutes": [None if op.ttl is None else float(op.ttl) for op in kept],
    }
