"""Which checkpoints a call asks for, as the parameters of saver_get, saver_keys and saver_rows; touches no database."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import get_checkpoint_id

from holdfast.persistence import arrays
from holdfast.persistence.ids import thread_id_text
from holdfast.persistence.saver.asking import Ask
from holdfast.persistence.saver.decoding import Row
from holdfast.persistence.saver.encoding import Params, json_text

PAGE: Final = 100
"""How many checkpoints are read at once, at most."""
PAGE_BYTES: Final = 1024 * 1024
"""How large the values of a page should be: where checkpoints are large, a page has fewer of them."""
KEYS: Final = 10_000
"""How many checkpoints are looked up at once; the first time PAGE, as many readers stop early."""


def get_params(config: RunnableConfig) -> Params:
    """The checkpoint that the config names, or its namespace's newest."""
    configurable = config.get("configurable", {})
    return {
        "thread_id": thread_id_text(configurable.get("thread_id")),
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": get_checkpoint_id(config),
    }


class Listing:
    """One ``list``: give the rows of each ``next_ask`` to ``take``, until there is none.

    It looks up which checkpoints there are, and then reads them page by page. So nothing is held in the
    database between two pages, what is in memory does not grow with the thread, and no page looks again at
    what earlier ones have shown. A checkpoint that is deleted meanwhile is left out.
    """

    def __init__(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> None:
        configurable = config["configurable"] if config else {}
        thread_id = configurable.get("thread_id")
        self._params: Params = {
            "thread_id": None if thread_id is None else str(thread_id),
            "checkpoint_ns": configurable.get("checkpoint_ns"),
            "checkpoint_id": configurable.get("checkpoint_id"),
            "before": get_checkpoint_id(before) if before else None,
            "filter": json_text(filter, "filter") if filter else None,
            "after_id": None,
            "after_thread": None,
            "after_ns": None,
        }
        self._left = None if limit is None else int(limit)
        self._keys: deque[Row] = deque()
        self._at_once = PAGE
        self._page = 10

    def next_ask(self) -> Ask | None:
        """What to ask next, or None after the last."""
        if self._keys:
            count = min(self._page, len(self._keys))
            columns = zip(*(self._keys.popleft() for _ in range(count)), strict=True)
            threads, namespaces, ids = (arrays.texts(column) for column in columns)
            return Ask("saver_rows", {"threads": threads, "namespaces": namespaces, "ids": ids})
        size = self._at_once if self._left is None else min(self._at_once, self._left)
        # Never prepared, so that the planner sees which filters there are.
        return Ask("saver_keys", {**self._params, "limit": size}, prepare=False) if size > 0 else None

    def take(self, ask: Ask, rows: Sequence[Row]) -> Sequence[Row]:
        """The page of checkpoints that has come; none if it was their keys."""
        if ask.name == "saver_rows":
            size = sum(map(_size, rows))
            fitting = PAGE_BYTES * len(rows) // max(size, 1)
            self._page = max(1, min(2 * self._page, PAGE, fitting))
            return rows
        self._keys.extend(rows)
        if len(rows) < ask.params["limit"]:
            self._left = 0
            return ()
        self._params["after_thread"], self._params["after_ns"], self._params["after_id"] = rows[-1]
        self._at_once = KEYS
        if self._left is not None:
            self._left -= len(rows)
        return ()


def _size(row: Row) -> int:
    """Bytes of what a checkpoint holds: texts stand in it, other values in blobs, and so do pending writes."""
    body, metadata, _, _, values, _, _, _, _, _, writes, *_ = row[4:]
    return len(body) + len(metadata) + sum(len(each or b"") for each in (*(values or ()), *(writes or ())))
