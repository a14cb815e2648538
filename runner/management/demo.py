"""``holdfast demo``: the story that the README tells, with real parts, checked while it is told.

Two processes: one holds the embedded PostgreSQL, the other, a plain user of the public API, tells the
story: enqueue ``digest``, kill -9 its worker in the middle, see the other go on, answer, publish, run again.
Nothing is staged but the pace: without a model the offline one is slowed down, so that one can watch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

import holdfast
from holdfast.errors import HoldfastError, InvalidInputError, WaitTimeoutError
from holdfast.persistence.embedded import home
from holdfast.runner import up
from holdfast.runner.management import demo_checks, display, facts, run_page

if TYPE_CHECKING:
    from holdfast.persistence.records import Run, StepRecord

WATCHED: Final = 9.0
"""Seconds that the summaries take at most, by the pace of the offline model."""
PARALLEL: Final = 3
"""Summaries at the same time."""
LOOK: Final = 0.2
"""Seconds between two looks at the run."""
LONGEST: Final = 120.0
"""Seconds that a run may take before the demo gives it up; a real model may need them."""


def run(documents: Path | None) -> int:
    """Hold the database while the story is told; its exit code."""
    paths = [documents.resolve()] if documents else own_documents()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = display.console()
    out.print("Starting PostgreSQL …", style="dim")
    with up.surroundings(home() / "demo", use_environment=False) as around:
        up.migrate(around)
        out.print(f"{around.database}, migrated", style="dim", markup=False)
        command = [sys.executable, "-m", __name__, *map(str, paths)]
        return _told(command, around.env)


def _told(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Let the other process tell the story; it hears of a signal once, and this one waits until it has cleaned up."""
    # A process group of its own, since the terminal would send it a second Ctrl-C beside ours.
    process = subprocess.Popen(command, env=dict(env), process_group=0)  # noqa: S603 - our own module
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda heard, _: process.send_signal(heard))
    return process.wait()


def own_documents() -> list[Path]:
    """Holdfast's own documents, in a checkout, and the stations of a run, which explain themselves."""
    package = Path(holdfast.__file__).resolve().parent
    stations = package / "runner" / "runs"
    if not (package.parent / "pyproject.toml").exists():
        return [stations]
    named = (package.parent / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs"))
    return [*(path for path in named if path.exists()), stations]


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
        """From the first worker to the last check."""
        from holdfast.persistence.models import NodeCacheEntry
        from holdfast.runner import api

        NodeCacheEntry.objects.all().delete()  # an earlier demo's summaries would leave nothing to watch
        began = time.monotonic()
        self._head(f"1. Two workers, and a digest of {self.count} documents")
        with self._worker("one") as one, self._worker("two") as two:
            self._await_workers(2)
            run = holdfast.enqueue(
                "digest", self._input("Holdfast demo"), config={"max_concurrency": PARALLEL}
            )
            self._say(f"enqueued run {run.id}")
            middle = self._follow(run.id, until=self._in_the_middle)
            self._head("2. kill -9, in the middle")
            victim = next(worker for worker in (one, two) if _executes(worker, middle))
            _kill(victim)
            killed = datetime.now(UTC)
            stored = self._stored_summaries(run)
            self._say(f"worker {victim.pid} is dead, and its child {middle.owner} that executed the run")
            self._say(f"{len(stored)} of {self.count} summaries were in the database by then")
            onward = next(self._steps_after(run, middle.deliveries))
            pause = (onward.started_at - killed).total_seconds()
            self._say(f"{onward.owner}, the other worker's child, executed it {pause:.1f} s after the kill")
            asked = self._follow(run.id, until=_asks)
            self._head("3. The run asks, and is answered")
            self.out.print(Text(str(asked.questions[0].value["question"])))
            holdfast.resume(run.id, True)
            self._say("answered: true")
            done = self._follow(run.id, until=_ended)
            self._head("4. The same documents again: nothing is paid for twice")
            again = holdfast.enqueue("digest", self._input("Holdfast demo, again"))
            self._follow(again.id, until=_asks)
            holdfast.resume(again.id, {"approved": False, "note": "published before"})
            second = self._follow(again.id, until=_ended)
            cached = [step for step in api.steps(again.id) if step.outcome == "cached"]
            self._say(f"{len(cached)} of {self.count} summaries came out of the cache")
        self._report(done, second, stored)
        return self._verdict(time.monotonic() - began)

    def _input(self, title: str) -> dict[str, Any]:
        folder = Path(os.environ["HOLDFAST_HOME"]) / "published"
        return {"paths": self.paths, "title": title, "folder": str(folder)}

    # ── the parts ───────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _worker(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A real Celery worker with one child, killed at the end if nobody has done so before."""
        from holdfast.graphs.examples.offline import PACE

        log = Path(os.environ["HOLDFAST_HOME"]) / f"worker-{name}.log"
        rounds = max(1, -(-self.count // PARALLEL))
        env = {**os.environ, PACE: os.environ.get(PACE) or f"{min(0.8, WATCHED / rounds):.3f}"}
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                up.worker_command(up.Options(concurrency=1), name=name),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._say(f"worker {process.pid}, its log: {_near(log)}")
        try:
            yield process
        finally:
            try:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            finally:  # also where another Ctrl-C ends the patience
                _kill(process)

    def _follow(self, run_id: Any, *, until: Callable[[Run, Sequence[StepRecord]], bool]) -> Run:
        """Draw the run while it goes on. Raises WaitTimeoutError, HoldfastError when it ends too early."""
        from holdfast.runner import api

        give_up = time.monotonic() + LONGEST
        with display.passing(self.out) as live:
            while True:
                with suppress(WaitTimeoutError):
                    api.wait(run_id, LOOK)
                found, steps = api.get(run_id), api.steps(run_id)
                live.update(run_page.run_view(found, steps, payload=False), refresh=True)
                if until(found, steps):
                    return found
                if found.status.ended or time.monotonic() > give_up:
                    raise HoldfastError(
                        f"The run {run_id} is {found.status} ({(found.error or {}).get('message', 'too slow')}); "
                        f"the workers' logs are in {os.environ['HOLDFAST_HOME']}.",
                        run_id=run_id,
                    )

    def _in_the_middle(self, _: Run, steps: Sequence[StepRecord]) -> bool:
        done = [step for step in steps if step.node == "summarise" and step.outcome == "done"]
        begun = any(step.node == "summarise" for step in steps)
        return len(done) >= self.count // 3 if self.count > 2 else begun

    def _await_workers(self, number: int) -> None:
        """Until so many worker processes beat. Raises HoldfastError when they take too long."""
        from holdfast.runner.management.doctor import beating

        give_up = time.monotonic() + LONGEST
        while beating() < number:
            if time.monotonic() > give_up:
                raise HoldfastError(
                    f"The workers did not start; see {os.environ['HOLDFAST_HOME']}/worker-*.log."
                )
            time.sleep(LOOK)  # between two looks; a worker tells nobody that it is ready

    def _stored_summaries(self, run: Run) -> set[str]:
        """Tasks whose summaries are in the database: these must never run again."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT task_id FROM checkpoint_writes WHERE thread_id = %s AND channel = 'summaries'",
                [run.thread_id],
            )
            return {str(task_id) for (task_id,) in cursor.fetchall()}

    def _steps_after(self, run: Run, delivery: int) -> Iterator[StepRecord]:
        """The steps of later deliveries, as soon as there are any."""
        found: list[StepRecord] = []

        def begun(_: Run, steps: Sequence[StepRecord]) -> bool:
            found[:] = [step for step in steps if step.delivery > delivery]
            return bool(found)

        self._follow(run.id, until=begun)
        return iter(found)

    # ── what is shown and checked ───────────────────────────────────────────────────────────────────

    def _report(self, first: Run, second: Run, stored: set[str]) -> None:
        from holdfast.runner import api

        steps, again, effects = api.steps(first.id), api.steps(second.id), facts.effects_of(first)
        self._head("What happened")
        self.out.print(run_page.timeline(steps), Text(), run_page.effects_table(effects), Text())
        self._say("The second run:")
        self.out.print(run_page.timeline(again), Text())
        for check in (
            *demo_checks.of_steps(steps, stored),
            *demo_checks.of_effects(first, effects),
            *demo_checks.of_cache(again),
        ):
            self._show(check)

    def _show(self, check: demo_checks.Check) -> None:
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


def _executes(worker: subprocess.Popen[bytes], run: Run) -> bool:
    """Whether a child of the worker's executes the run; each worker has a session of its own."""
    pid = int((run.owner or ":0").rpartition(":")[2])
    with suppress(ProcessLookupError):
        return os.getsid(pid) == worker.pid
    return False


def _asks(run: Run, _: Sequence[StepRecord]) -> bool:
    return str(run.status) == "interrupted"


def _ended(run: Run, _: Sequence[StepRecord]) -> bool:
    return str(run.status) == "succeeded"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The parent and its children at once, as when a machine loses power."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(paths: Sequence[str]) -> int:
    """The second process: a user of the public API."""
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
