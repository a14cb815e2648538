"""What every test on a database leaves behind is nothing: no pool of Holdfast's stays open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.persistence.connections import close_pools


@pytest.fixture(autouse=True)
def _no_pool_stays_open() -> Iterator[None]:
    yield
    close_pools()
