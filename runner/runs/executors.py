"""The executors on which LangGraph runs a run's nodes, its ``@task`` calls, and what they have written.

Writes go apart (P3, P5). LangGraph runs the nodes of a step, and the saver's and the cache's calls for those
that have finished, on one pool of threads or behind one semaphore, first come, first served: in a fan-out of 25
nodes on 6 threads, or under ``max_concurrency``, the first node's result is stored when the last node has begun,
and a crash before that repeats them all (seen with 1.2.22). And where nobody has to wait for a thread, each step
of a chain goes to another one and back twice, which costs more than the database does (10 steps: 4 ms of
processor time). Here a task's writes are handed to the saver in the thread that has them, which keeps them for
their checkpoint; a checkpoint is stored in the thread that is about to wait for it (``durability="sync"``),
together with the writes that LangGraph would have it wait for; and a cache that is not ours has threads of its own.
In async graphs a task's writes are handed over in the same way and take no task of the loop's. Nodes and calls have
slots (``room``), and calls pass the boundary before they begin (R13).

There is no public way to tell LangGraph otherwise, so inside a run its executors are replaced by these, and how it
treats cached nodes by ``cached_nodes``. Outside a run nothing changes. In the runner only these two replace parts of LangGraph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from langchain_core.runnables.config import RunnableConfig
from langgraph.pregel import _executor, _loop

from holdfast.runner.runs import cached_nodes
from holdfast.runner.runs.attempt import current_attempt
from holdfast.runner.runs.node_pool import NodePool
from holdfast.runner.runs.node_tasks import NodeTasks

_stock_pool: Final = vars(_executor)["get_executor_for_config"]


@contextmanager
def _for_config(config: RunnableConfig | None) -> Iterator[Any]:
    if current_attempt() is None:
        with _stock_pool(config) as executor:
            yield executor
        return
    with NodePool((config or {}).get("max_concurrency")) as pool:
        yield pool


def install() -> None:
    """From now on, this process's runs are executed here."""
    vars(_executor)["get_executor_for_config"] = _for_config
    vars(_loop)["AsyncBackgroundExecutor"] = NodeTasks
    cached_nodes.install()
