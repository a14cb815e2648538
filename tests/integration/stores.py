"""What the tests of the store share: an empty table, and both ways of calling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from langgraph.store.base import Op, Result

from holdfast.persistence import DjangoStore
from holdfast.persistence.connections import connect

Do = Callable[[list[Op]], list[Result]]


@pytest.fixture
def empty_store(db: None) -> Iterator[None]:
    """Nothing in the table before, nor after: the store commits, whatever the test's own transaction does."""

    def clear() -> None:
        with connect("default") as cleaner:
            cleaner.execute("DELETE FROM store")

    clear()
    yield
    clear()


@pytest.fixture(params=["thread", "task"])
def do(request: pytest.FixtureRequest) -> Do:
    """Executes a batch, synchronously or from an asyncio task."""
    store = DjangoStore()
    if request.param == "thread":
        return store.batch
    return lambda ops: asyncio.run(store.abatch(ops))
