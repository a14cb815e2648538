"""The demo's second process, a plain user of the public API: tells the story, and checks what it has told."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

import holdfast
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.runner.management import display, facts, run_page
from holdfast.runner.management.demo import checks, looking, workers

if TYPE_CHECKING:
    from holdfast.persistence.records import Run


class Story:
    """One telling, and what it found to be wrong."""

    def __init__(self, paths: Sequence[str]) -> None:
        from holdfast.graphs.examples.documents import collect

        self.out = display.console()
        self.paths = list(paths)
        try:
            self.count = len(collect(self.paths)[0])
        except HoldfastError as error:
            raise InvalidInputError(f"Nothing to digest: {error.message}", field="paths") from error
        self.wrong: list[str] = []

    def tell(self) -> int:
        """From the first worker to the last check; the exit code."""
        from holdfast.persistence.models import NodeCacheEntry

        NodeCacheEntry.objects.all().delete()  # an earlier demo's summaries would leave nothing to watch
        began = time.monotonic()
        self._head(f"1. Two workers, and a digest of {self.count} documents")
        with self._worker("one") as one, self._worker("two") as two:
            workers.await_workers(2)
            run = holdfast.enqueue(
                "digest", self._input("Holdfast demo"), config={"max_concurrency": workers.PARALLEL}
            )
            self._say(f"enqueued run {run.id}")
            stored = self._kill_in_the_middle(run, one, two)
            done = self._answer(run)
            second = self._again()
        self._report(done, second, stored)
        return self._verdict(time.monotonic() - began)

    def _kill_in_the_middle(self, run: Run, one: workers.Worker, two: workers.Worker) -> set[str]:
        """The tasks whose summaries were in the database at the kill."""
        middle = looking.follow(self.out, run.id, until=looking.in_the_middle(self.count))
        self._head("2. kill -9, in the middle")
        victim = next(worker for worker in (one, two) if workers.executes(worker, middle))
        workers.kill(victim)
        killed = datetime.now(UTC)
        stored = looking.stored_summaries(run)
        self._say(f"worker {victim.pid} is dead, and its child {middle.owner} that executed the run")
        self._say(f"{len(stored)} of {self.count} summaries were in the database by then")
        onward = looking.first_step_after(self.out, run.id, middle.deliveries)
        pause = (onward.started_at - killed).total_seconds()
        self._say(f"{onward.owner}, the other worker's child, executed it {pause:.1f} s after the kill")
        return stored

    def _answer(self, run: Run) -> Run:
        """Approve what the run asks; the run as it ended."""
        asked = looking.follow(self.out, run.id, until=looking.asks)
        self._head("3. The run asks, and is answered")
        self.out.print(Text(str(asked.questions[0].value["question"])))
        holdfast.resume(run.id, True)
        self._say("answered: true")
        return looking.follow(self.out, run.id, until=looking.ended)

    def _again(self) -> Run:
        """The same documents in a second run; that run as it ended."""
        from holdfast.runner import api

        self._head("4. The same documents again: nothing is paid for twice")
        again = holdfast.enqueue("digest", self._input("Holdfast demo, again"))
        looking.follow(self.out, again.id, until=looking.asks)
        holdfast.resume(again.id, {"approved": False, "note": "published before"})
        second = looking.follow(self.out, again.id, until=looking.ended)
        cached = [step for step in api.steps(again.id) if step.outcome == "cached"]
        self._say(f"{len(cached)} of {self.count} summaries came out of the cache")
        return second

    def _input(self, title: str) -> dict[str, Any]:
        folder = Path(os.environ["HOLDFAST_HOME"]) / "published"
        return {"paths": self.paths, "title": title, "folder": str(folder)}

    @contextmanager
    def _worker(self, name: str) -> Iterator[workers.Worker]:
        with workers.worker(name, self.count) as process:
            self._say(f"worker {process.pid}, its log: {_near(workers.log_of(name))}")
            yield process

    def _report(self, first: Run, second: Run, stored: set[str]) -> None:
        from holdfast.runner import api

        steps, again, effects = api.steps(first.id), api.steps(second.id), facts.effects_of(first)
        self._head("What happened")
        self.out.print(run_page.timeline(steps), Text(), run_page.effects_table(effects), Text())
        self._say("The second run:")
        self.out.print(run_page.timeline(again), Text())
        for check in (
            *checks.of_steps(steps, stored),
            *checks.of_effects(first, effects),
            *checks.of_cache(again),
        ):
            self._show(check)

    def _show(self, check: checks.Check) -> None:
        if check.holds:
            self.out.print(display.checked("ok", check.claim))
        else:
            self.wrong.append(f"not true: {check.claim} ({check.found})")
            self.out.print(display.checked("wrong", self.wrong[-1]))

    def _verdict(self, seconds: float) -> int:
        ending = "All of it holds" if not self.wrong else f"{len(self.wrong)} checks failed"
        self.out.print(
            Text(f"\n{ending}, after {seconds:.0f} s.", style="bold red" if self.wrong else "bold green")
        )
        return 1 if self.wrong else 0

    def _head(self, text: str) -> None:
        self.out.print()
        if self.out.is_terminal:
            self.out.rule(Text(text, style="bold"), align="left")
        else:  # a pipe has no width that a line could fill
            self.out.print(text)

    def _say(self, text: str) -> None:
        self.out.print(Text(text, style="dim"), soft_wrap=True)


def _near(path: Path) -> str:
    """As one would type it here: relative, if it stands below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def main(paths: Sequence[str]) -> int:
    """Tell it once; the exit code."""
    from holdfast.runner.management.bootstrap import ready
    from holdfast.runner.management.errors import explain

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ready()
    try:
        return Story(paths).tell()
    except KeyboardInterrupt:
        return 130
    except HoldfastError as error:
        print(f"holdfast: {explain(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
