"""What of an attempt a crash of the server may lose: commits that did not wait for the disk, until a later one did (R9)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfast.errors import LeaseLostError
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import ThreadId, new_run_id, new_token

ERA = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def fence() -> Fence:
    return Fence(new_run_id(), new_token(), ThreadId("t"), era=ERA)


def test_the_incarnation_is_demanded_from_the_first_relaxed_commit_to_the_next_that_waits(
    fence: Fence,
) -> None:
    assert fence.demands["era"] is None
    with fence.committing(relaxed=True):
        assert fence.demands["era"] == ERA, "it may be committed by now"
    assert fence.params["era"] == ERA
    with fence.committing():
        assert fence.demands["era"] == ERA
    assert fence.demands["era"] is None


def test_a_commit_that_began_beside_a_relaxed_one_may_stand_before_it_in_the_log(fence: Fence) -> None:
    with fence.committing():
        with fence.committing(relaxed=True):
            pass
    assert fence.unflushed
    with fence.committing(relaxed=True):
        with fence.committing():
            pass
    assert fence.unflushed
    with fence.committing():
        pass
    assert not fence.unflushed


def test_a_statement_that_was_refused_takes_nothing_along(fence: Fence) -> None:
    with fence.committing(relaxed=True):
        pass
    with pytest.raises(LeaseLostError), fence.committing():
        fence.check(0)
    assert fence.unflushed


def test_a_relaxed_commit_whose_outcome_is_unknown_counts(fence: Fence) -> None:
    with pytest.raises(OSError, match="gone"), fence.committing(relaxed=True):
        raise OSError("gone")
    assert fence.unflushed


def test_only_a_first_checkpoint_alone_is_known_by_its_mark(fence: Fence) -> None:
    with fence.committing(relaxed=True, enter=True):
        pass
    assert fence.demands == {"era": ERA, "entry_only": True}
    with fence.committing(relaxed=True):
        pass
    assert fence.demands == {"era": ERA, "entry_only": False}
