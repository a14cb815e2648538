"""Which checkpoints a call asks for, as the parameters of saver_get and saver_list; touches no database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import get_checkpoint_id

from holdfast.persistence.saver.decoding import Row
from holdfast.persistence.saver.encoding import Params, json_text

PAGE = 100
"""How many checkpoints are read at once."""


def get_params(config: RunnableConfig) -> Params:
    """The checkpoint that the config names, or its namespace's newest."""
    configurable = config["configurable"]
    return {
        "thread_id": str(configurable["thread_id"]),
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": get_checkpoint_id(config),
    }


class Listing:
    """The pages of one ``list``: ask with ``next_page``, hand what came to ``take``, until None is asked for."""

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

    def next_page(self) -> Params | None:
        """The parameters of the next page, or None after the last."""
        size = PAGE if self._left is None else min(PAGE, self._left)
        return {**self._params, "limit": size} if size > 0 else None

    def take(self, page: Sequence[Row], *, asked: Params) -> None:
        """Go on after that page; one that is not full was the last."""
        if len(page) < asked["limit"]:
            self._left = 0
            return
        self._params["after_thread"], self._params["after_ns"], self._params["after_id"] = page[-1][:3]
        if self._left is not None:
            self._left -= len(page)
