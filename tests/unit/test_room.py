"""P5: who waits for another worker's value gives up its slot, and no slot is ever lost or given twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import pytest

from holdfast.runner.runs.node_pool import NodePool
from holdfast.runner.runs.room import Room, Slot


def begun(room: Room, around: Slot | None = None) -> Slot:
    slot = Slot(room, around)
    assert slot.turn() is None
    slot.begin()
    return slot


def free(room: Room) -> int:
    assert room.permits is not None
    return room.permits._free


def test_a_slot_that_is_given_up_is_anothers_and_comes_back_before_those_who_have_not_begun() -> None:
    room = Room(1)
    first, second, third = begun(room), Slot(room, None), Slot(room, None)
    turns = [second.turn(), third.turn()]
    first.rest()
    assert [turn is not None and turn.done() for turn in turns] == [True, False]
    second.begin()
    back = threading.Thread(target=first.resume)
    back.start()
    while len(room.permits._line if room.permits else ()) < 2:
        threading.Event().wait(0.001)  # until it stands in line
    second.end()
    back.join(5)
    assert not turns[1] or not turns[1].done()
    first.end()
    assert turns[1] is not None
    assert turns[1].done()
    third.begin()
    third.end()
    assert free(room) == 1


def test_those_who_wait_for_one_that_waits_give_up_their_slots_and_go_on_when_it_has_ended() -> None:
    outer, inner = Room(1), Room(2)
    around = begun(outer)
    caller = begun(inner, around)
    call = begun(inner, caller)
    call.rest()
    assert (free(outer), free(inner)) == (1, 2)
    other = begun(outer)
    call.end()  # the value was there: it needs no slot
    assert (free(outer), free(inner)) == (-1, 1)  # one too many, until one of them ends
    waiting = Slot(outer, None).turn()
    other.end()
    assert (free(outer), waiting is not None and waiting.done()) == (0, False)
    around.end()
    assert waiting is not None
    assert waiting.done()
    caller.end()
    assert free(inner) == 2


def test_who_ended_before_its_call_takes_no_slot_again() -> None:
    room = Room(2)
    caller = begun(room)
    call = begun(room, caller)
    call.rest()
    caller.end()
    call.end()
    assert free(room) == 2


def test_no_more_threads_wait_outside_than_may() -> None:
    room = Room(3, most_out=1)
    slots = [begun(room) for _ in range(3)]
    for slot in slots:
        slot.rest()
    assert free(room) == 1
    slots[0].end()
    assert free(room) == 1
    for slot in slots[1:]:
        slot.resume()
        slot.end()
    assert free(room) == 3
    again = begun(room)
    again.rest()
    assert free(room) == 3


@pytest.mark.parametrize("seed", range(5))
def test_slots_are_conserved_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    room = Room(2, most_out=3)
    plans = [[chance.choice(["rest", "resume"]) for _ in range(chance.randrange(4))] for _ in range(40)]

    def work(plan: list[str]) -> None:
        slot = Slot(room, None)
        if (turn := slot.turn()) is not None:
            turn.result(10)
        slot.begin()
        call = Slot(room, slot)
        for what in plan:
            getattr(slot, what)()
        if len(plan) % 2:
            call.rest()
            call.end()
        slot.end()

    threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert free(room) == 2


def submitted(pool: NodePool, count: int, work: Callable[[int], Any]) -> list[Future[Any]]:
    """As LangGraph submits tasks, but for what it would look up in them."""
    slots = [Slot(pool._room, None) for _ in range(count)]
    return [pool._in_turn(slot, lambda n=n: work(n)) for n, slot in enumerate(slots)]


def test_nodes_execute_in_as_many_slots_as_there_are_and_in_their_order() -> None:
    at_once, most, order = 0, 0, list[int]()
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal at_once, most
        with lock:
            order.append(number)
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.002)
        with lock:
            at_once -= 1
        return number

    with NodePool(3) as pool:
        assert [node.result(10) for node in submitted(pool, 60, work)] == list(range(60))
        assert len(pool._threads) <= 9
    assert most == 3
    assert order[0] == 0


def test_a_node_that_is_cancelled_before_its_turn_never_begins_and_takes_no_slot() -> None:
    let_go, begun_nodes = threading.Event(), list[int]()

    def work(number: int) -> None:
        begun_nodes.append(number)
        let_go.wait(10)

    with NodePool(1) as pool:
        nodes = submitted(pool, 500, work)
        assert all(node.cancel() for node in nodes[1:-1])
        let_go.set()
        wait([nodes[0], nodes[-1]], 10)
    assert begun_nodes == [0, 499]


def test_an_error_is_the_nodes_and_its_slot_is_free() -> None:
    def work(number: int) -> None:
        raise SystemExit(number)

    with NodePool(1) as pool:
        nodes = submitted(pool, 3, work)
        assert [type(node.exception(10)) for node in nodes] == [SystemExit] * 3
        assert free(pool._room) == 1
