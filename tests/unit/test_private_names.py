"""What Holdfast uses of its libraries although they do not promise it: all of it is named here, and still there.

A new minor release of one of them may move it; then this fails first, and says which module to look at.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast

ROOMS = ("holdfast", "graphs", "persistence", "runner")
LIBRARIES = (
    "billiard",
    "celery",
    "django",
    "kombu",
    "langchain_core",
    "langgraph",
    "psycopg",
    "psycopg_pool",
)

IMPORTED = {
    "langgraph._internal._constants": {
        "CONF",
        "CONFIG_KEY_CALL",
        "CONFIG_KEY_CHECKPOINTER",
        "CONFIG_KEY_CHECKPOINT_MAP",
        "CONFIG_KEY_RUNTIME",
        "CONFIG_KEY_SCRATCHPAD",
        "CONFIG_KEY_TASK_ID",
        "ERROR",
        "INTERRUPT",
        "NO_WRITES",
        "RETURN",
    },
    "langgraph._internal._runnable": {"RunnableCallable", "RunnableSeq", "is_async_callable"},
    "langgraph._internal._serde": {"build_serde_allowlist"},
    "langgraph.checkpoint.serde._msgpack": {"SAFE_MSGPACK_METHODS", "SAFE_MSGPACK_TYPES"},
    "langgraph.checkpoint.serde.types": {"_DeltaSnapshot"},
    "langgraph.func": {"_TaskFunction"},
    "langgraph.pregel": {"_executor", "_loop", "_runner"},
    "langgraph.pregel._call": {"SyncAsyncFuture"},
    "langgraph.pregel._task_status": {"CONTROL_WRITES"},
    "langgraph.pregel._utils": {"get_function_nonlocals"},
}
"""By module, what is imported from it."""

REPLACED_OR_CALLED = {
    "langgraph.func:_TaskFunction.__init__": [
        "self",
        "func",
        "retry_policy",
        "cache_policy",
        "timeout",
        "name",
    ],
    "langgraph.pregel._loop:SyncPregelLoop.match_cached_writes": [],
    "langgraph.pregel._loop:AsyncPregelLoop.amatch_cached_writes": [],
    "langgraph.pregel._loop:SyncPregelLoop._checkpointer_put_after_previous": [
        "self",
        "prev",
        "delta_write_futs",
        "config",
        "checkpoint",
        "metadata",
        "new_versions",
    ],
    "langgraph.pregel._loop:AsyncPregelLoop._checkpointer_put_after_previous": [
        "self",
        "prev",
        "delta_write_futs",
        "config",
        "checkpoint",
        "metadata",
        "new_versions",
    ],
    "langgraph.pregel._runner:run_with_retry": ["task", "retry_policy", "configurable"],
    "langgraph.pregel._runner:arun_with_retry": ["task", "retry_policy", "stream", "configurable"],
    "langgraph.pregel._executor:AsyncBackgroundExecutor.submit": ["fn", "args", "kwargs"],
    "psycopg:Cursor._execute_gen": ["self", "query", "params", "prepare", "binary"],
    "billiard.common:_shutdown_cleanup": ["signum", "frame"],
}
"""By module and name, the parameters that are relied on."""


def modules() -> Iterator[Path]:
    """Every module of the three rooms and of the public names."""
    top = Path(holdfast.__file__).resolve().parent.parent
    for room in ROOMS:
        yield from (path for path in (top / room).rglob("*.py") if "migrations" not in path.parts)


def private(module: str, name: str) -> bool:
    """Whether the import reaches behind an underscore."""
    return any(part.startswith("_") for part in (*module.split("."), name) if not part.startswith("__"))


def test_every_private_import_is_named() -> None:
    found: dict[str, set[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LIBRARIES:
                for alias in node.names:
                    if private(node.module, alias.name):
                        found.setdefault(node.module, set()).add(alias.name)
    assert found == IMPORTED


@pytest.mark.parametrize("module", sorted(IMPORTED))
def test_what_is_imported_is_there(module: str) -> None:
    there = importlib.import_module(module)
    assert [name for name in sorted(IMPORTED[module]) if not hasattr(there, name)] == []


@pytest.mark.parametrize("place", sorted(REPLACED_OR_CALLED))
def test_what_is_replaced_or_called_takes_what_it_took(place: str) -> None:
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    taken = list(inspect.signature(found).parameters)
    assert [each for each in REPLACED_OR_CALLED[place] if each not in taken] == []
