"""``DjangoStore``: long-term memory for threads and asyncio tasks alike, on upstream's tables.

It opens nothing until it is used, holds no connection between two calls, and repeats statements on connection errors (R3), as
all of them may be repeated. Inside a run its writes carry the fence (P2). It deletes nothing that has expired:
retention does.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, Op, PutOp, Result, SearchOp, TTLConfig

from holdfast.conf import settings
from holdfast.persistence.connections import Connection, aexecuting, retrying
from holdfast.persistence.fence import Fence
from holdfast.persistence.sql import query
from holdfast.persistence.store.asking import Ask, Prepare, Step
from holdfast.persistence.store.gathering import Gathering
from holdfast.persistence.store.operations import Batch
from holdfast.persistence.store.tables import Meaning, check_vectors_may_be_read, meaning


class DjangoStore(BaseStore):
    """``BaseStore`` in upstream's table ``store``; needs no arguments and no setup(). Thread-safe.

    One object serves threads (``get``, ``put``, …) and asyncio tasks (``aget``, …); for the latter no thread is
    used. A stock ``PostgresStore`` reads what it wrote, and the other way round.
    """

    supports_ttl = True

    def __init__(
        self,
        *,
        using: str | None = None,
        index: Mapping[str, Any] | None = None,
        ttl: TTLConfig | None = None,
        fence: Fence | None = None,
    ) -> None:
        """``using``: the database alias, by default ``HOLDFAST["DATABASE"]``.

        ``index``: search by meaning, as upstream's PostgresIndexConfig, by default ``HOLDFAST["STORE_INDEX"]``.
        ``ttl``: as upstream's, in minutes, by default ``HOLDFAST["STORE_TTL"]``. ``fence``: the run in whose
        name it writes; the runner gives it. Raises ConfigurationError.
        """
        self.using = using or settings().DATABASE
        self.ttl_config = ttl if ttl is not None else settings().STORE_TTL  # type: ignore[assignment]  # a plain dict
        self.fence = fence
        self._gatherings = WeakKeyDictionary[asyncio.AbstractEventLoop, Gathering]()
        self._meaning = meaning(index if index is not None else settings().STORE_INDEX)
        if self._meaning is not None:
            check_vectors_may_be_read()

    @property
    def index_config(self) -> Mapping[str, Any] | None:
        """The index's configuration, under the name that LangGraph's own stores have; None without one."""
        return self._meaning.index.config if self._meaning else None

    @property
    def embeddings(self) -> Embeddings | None:
        """The index's model; None without an index. Raises ConfigurationError where it cannot be had."""
        return self._meaning.index.model if self._meaning else None

    def under(self, fence: Fence) -> DjangoStore:
        """The same store, writing in the name of a run."""
        fenced = copy.copy(self)
        fenced.fence = fence
        fenced._gatherings = WeakKeyDictionary()  # what is written in another name goes on its own
        return fenced

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the operations, in one round trip a kind.

        Raises LeaseLostError, where a write of a run was refused, and nothing of the batch was written (P2);
        InvalidNamespaceError, InvalidInputError, NotSerializableError, before anything is written;
        DecryptionError, DatabaseUnreachableError.
        """
        conversation = self._batch(ops).conversation()
        answer: Any = None
        try:
            while True:
                answer = self._do(conversation.send(answer))
        except StopIteration as end:
            results: list[Result] = end.value
            return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As ``batch``, from an asyncio task and without a thread.

        What several tasks ask for at once is done together, as far as it needs no model.
        """
        wanted = list(ops)
        if self._meaning is not None and any(_needs_a_model(op) for op in wanted):
            return await self._abatch(wanted)
        loop = asyncio.get_running_loop()
        if (gathering := self._gatherings.get(loop)) is None:
            gathering = self._gatherings[loop] = Gathering(self._abatch)
        return await gathering.batch(wanted)

    async def _abatch(self, ops: list[Op]) -> list[Result]:
        conversation = self._batch(ops).conversation()
        answer: Any = None
        try:
            while True:
                answer = await self._ado(conversation.send(answer))
        except StopIteration as end:
            results: list[Result] = end.value
            return results

    def sweep_ttl(self) -> int:
        """Delete what has expired; the number of items. Retention does it every night."""

        def work(connection: Connection) -> int:
            return psycopg.Cursor(connection).execute(query("store_sweep")).rowcount

        return retrying(self.using, work)

    def _batch(self, ops: Iterable[Op]) -> Batch:
        ttl: Mapping[str, Any] = self.ttl_config or {}
        return Batch(
            list(ops),
            fence=self.fence,
            omit_expired=bool(ttl.get("omit_expired")),
            index=self._meaning.index if self._meaning else None,
        )

    def _do(self, step: Step) -> Any:
        if isinstance(step, Ask):
            return retrying(self.using, partial(_rows, step))
        meaning = self._indexed()
        if isinstance(step, Prepare):
            return meaning.tables.version(self.using)
        model = meaning.index.model
        if step.questions:
            return [model.embed_query(text) for text in step.texts]
        return model.embed_documents(step.texts)

    async def _ado(self, step: Step) -> Any:
        if isinstance(step, Ask):
            return (await aexecuting(self.using, step.statement, step.params)).fetchall()
        meaning = self._indexed()
        if isinstance(step, Prepare):
            return await meaning.tables.aversion(self.using)
        model = meaning.index.model
        if step.questions:
            return await asyncio.gather(*(model.aembed_query(text) for text in step.texts))
        return await model.aembed_documents(step.texts)

    def _indexed(self) -> Meaning:
        assert self._meaning is not None  # only a batch with an index asks for one
        return self._meaning


def _needs_a_model(op: Op) -> bool:
    return bool(op.query) if isinstance(op, SearchOp) else isinstance(op, PutOp)


def _rows(asked: Ask, connection: Connection) -> list[tuple[Any, ...]]:
    # Not connection.cursor(): a lent connection is Django's, whose cursors bind on the client.
    return psycopg.Cursor(connection).execute(asked.statement, asked.params, binary=True).fetchall()
