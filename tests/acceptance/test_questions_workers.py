"""P13, R4, R7 with real workers: questions are asked, handed over, killed and answered, and threads stay serial."""

from __future__ import annotations

from collections import Counter

import holdfast
from holdfast.persistence.models import RunStatus
from holdfast.persistence.records import Run
from tests.acceptance.asking.graphs import EXPECTED
from tests.acceptance.asking_driver import answer_to
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage


def _answer_one(runs: list[Run], answered: Counter[tuple[object, str]]) -> bool:
    """Answer one question of one run that waits; whether there was one."""
    for run in runs:
        if (now := holdfast.get(run.id)).status is RunStatus.INTERRUPTED:
            question = now.questions[0]
            holdfast.resume(now.id, {question.id: answer_to(question.value)})
            answered[now.id, question.value] += 1
            return True
    return False


def test_p13_every_graph_that_asks_survives_a_deploy_and_a_kill(stage: Stage) -> None:
    workers = [stage.worker(pool="threads", concurrency=4), stage.worker(concurrency=2)]
    runs = [holdfast.enqueue(graph, {"answers": {}, "done": []}) for graph in EXPECTED for _ in range(2)]
    answered: Counter[tuple[object, str]] = Counter()
    for number in range(2 * sum(len(questions) for questions, _ in EXPECTED.values())):
        until(lambda: _answer_one(runs, answered), 60, "some run asks")
        if number == 10:
            workers[0].term()
            workers.append(stage.worker(pool="threads", concurrency=4))
        if number == 25:
            workers[1].kill()
            workers.append(stage.worker(concurrency=2))
        if number == 35:
            workers[-1].kill_child()
    for run in runs:
        ended = holdfast.wait(run.id, timeout=60)
        assert ended.status is RunStatus.SUCCEEDED, ended.error
        questions, done = EXPECTED[ended.graph]
        assert ended.result["answers"] == {question: answer_to(question) for question in questions}
        assert sorted(ended.result["done"]) == done
    assert set(answered.values()) == {1}


def test_r4_the_second_run_of_a_thread_waits_while_the_first_asks(stage: Stage) -> None:
    stage.worker(pool="threads", concurrency=2)
    value = {"answers": {}, "done": []}
    tomorrow = holdfast.enqueue("asking.twice", value, thread_id="shared", run_after=86400)
    first = holdfast.enqueue("asking.twice", value, thread_id="shared")
    second = holdfast.enqueue("asking.twice", value, thread_id="shared")
    until(lambda: holdfast.get(first.id).status is RunStatus.INTERRUPTED, 30, "the first asks")
    elsewhere = holdfast.enqueue("long_steps", {"steps": 1})
    assert holdfast.wait(elsewhere.id, timeout=30).status is RunStatus.SUCCEEDED
    for question in ("one?", "two?"):
        assert holdfast.get(second.id).deliveries == 0
        waiting = holdfast.wait(first.id, timeout=30)
        assert [asked.value for asked in waiting.questions] == [question]
        holdfast.resume(first.id, f"first {question}")
        until(
            lambda question=question: [q.value for q in holdfast.get(first.id).questions] != [question],
            30,
            "the answer is taken",
        )
    assert holdfast.wait(first.id, timeout=30).result["answers"] == {
        "one?": "first one?",
        "two?": "first two?",
    }
    for question in ("one?", "two?"):
        until(
            lambda question=question: (
                (run := holdfast.get(second.id)).status is RunStatus.INTERRUPTED
                and [q.value for q in run.questions] == [question]
            ),
            30,
            "the second asks in its turn",
        )
        holdfast.resume(second.id, f"second {question}")
    assert holdfast.wait(second.id, timeout=30).result["answers"] == {
        "one?": "second one?",
        "two?": "second two?",
    }
    assert holdfast.get(tomorrow.id).deliveries == 0
