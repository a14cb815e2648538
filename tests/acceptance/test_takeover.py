"""P3, P8: a killed worker's run goes on elsewhere while its lease is unexpired, and what finished ran once."""

from __future__ import annotations

import pytest

from tests.acceptance.trials import GRAPHS, LONG_LEASE, PATIENCE, Trial, take_overs
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage, Worker


def assert_sessions_were_gone(runs: list[Trial], *sweepers: Worker, take_over: int) -> None:
    """Each run was taken away so often, each time because its session was gone, never by expiry."""
    for trial in runs:
        seen = [each for each in take_overs(*sweepers) if each.run == str(trial.id)]
        assert len(seen) == take_over, (trial.graph, seen)
        for each in seen:
            assert each.cause == "session gone"
            assert each.age < LONG_LEASE["LEASE"]
            assert each.crashes == 1  # each time further than the time before (R12)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_p8_p3_killed_children_and_workers_are_replaced_and_nothing_finished_runs_again(
    stage: Stage, pool: str
) -> None:
    first = stage.worker(pool=pool, concurrency=3, holdfast=LONG_LEASE)
    trials = [Trial(stage, graph, steps=6, width=3).enqueue(held=[1, 3, 4]) for graph in GRAPHS]
    for trial in trials:
        trial.wait_held(1)

    if pool == "prefork":  # every child dies in mid-node; their parent lives and forks new ones
        children = {trial.log.in_flight()[1, 2] for trial in trials}
        assert children <= set(first.children)
        for child in children:
            first.kill_child(child)
        for trial in trials:
            trial.wait_begun(1, 2)
        assert_sessions_were_gone(trials, first, take_over=1)
    for trial in trials:
        trial.release(1)
        trial.wait_held(3)

    second = stage.worker(pool=pool, concurrency=3, holdfast=LONG_LEASE)
    first.kill()  # the whole worker, with a second one alive
    for trial in trials:
        trial.wait_begun(3, 2)
    assert_sessions_were_gone(trials, second, take_over=1)
    for trial in trials:
        trial.release(3)
        trial.wait_held(4)

    second.kill()  # the only worker; nobody is there for as long as a new one takes to start
    third = stage.worker(pool=pool, concurrency=3, holdfast=LONG_LEASE)
    for trial in trials:
        trial.wait_begun(4, 2)
    assert_sessions_were_gone(trials, third, take_over=1)
    for trial in trials:
        trial.release(4)

    for trial in trials:
        run = trial.wait_succeeded()
        assert run.deliveries == (4 if pool == "prefork" else 3)
        trial.assert_executed(again=[1, 3, 4] if pool == "prefork" else [3, 4])
    third.term()
    assert third.wait_end(PATIENCE) == 0


def test_p8_one_child_of_several_dies_and_its_neighbours_go_on_undisturbed(stage: Stage) -> None:
    worker = stage.worker(concurrency=3, holdfast=LONG_LEASE)
    victim = Trial(stage, "long_steps", steps=3, width=3).enqueue(held=[1])
    neighbour = Trial(stage, "long_steps_tasks", steps=3, width=3).enqueue(held=[1])
    victim.wait_held(1)
    neighbour.wait_held(1)
    worker.kill_child(victim.log.in_flight()[1, 2])
    victim.wait_begun(1, 2)
    assert [each.run for each in take_overs(worker)] == [str(victim.id)]
    for trial in (victim, neighbour):
        trial.release(1)
        trial.wait_succeeded()
    victim.assert_executed(again=[1])
    neighbour.assert_executed()
    assert (neighbour.run.deliveries, neighbour.run.crashes) == (1, 0)
    until(lambda: len(worker.children) == 3, PATIENCE, "the pool is full again")
