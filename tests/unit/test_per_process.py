"""What a process has one of, over a fork."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.per_process import PerProcess


def test_threads_that_ask_at_once_get_the_same_one() -> None:
    together = threading.Barrier(8)
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    one = PerProcess(make)

    def ask() -> object:
        together.wait(10)
        return one()

    with ThreadPoolExecutor(8) as pool:
        got = [future.result() for future in [pool.submit(ask) for _ in range(8)]]
    assert len(made) == 1
    assert set(map(id, got)) == {id(made[0])}


def test_an_error_while_it_is_made_is_the_callers_and_the_next_call_tries_again() -> None:
    outcomes = iter([OSError("not yet"), "made"])

    def make() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    one = PerProcess(make)
    with pytest.raises(OSError, match="not yet"):
        one()
    assert one() == one() == "made"


FORKS = """
import os, threading
from holdfast.per_process import PerProcess

class Socket:
    def __init__(self):
        self.of = os.getpid()
    def __del__(self):
        assert self.of == os.getpid(), "closed under its owner"

one, slow = PerProcess(Socket), PerProcess(lambda: (begun.set(), go_on.wait(20), os.getpid())[-1])
begun, go_on = threading.Event(), threading.Event()
mine = one()
assert mine is one()
threading.Thread(target=slow).start()
begun.wait(20)                          # a thread that the child will not have is making it
child = os.fork()
go_on.set()
if child == 0:
    del mine
    import gc; gc.collect()
    assert one().of == os.getpid()      # not the parent's, which nobody has collected
    assert slow() == os.getpid()        # nor is there a wait for the parent's thread
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert one() is mine and slow() == os.getpid()
print("ended")
"""


def test_a_forked_child_gets_its_own_whatever_the_parents_threads_were_doing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "ended\n", done.stderr
    assert "under its owner" not in done.stderr
