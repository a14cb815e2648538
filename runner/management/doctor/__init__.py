"""``holdfast doctor``: looks at each part that a run needs, and says how to mend what is wrong.

It reads only: nothing is written, sent for execution or repaired. A part that cannot be looked at
because another is missing is told as skipped, not as healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from holdfast.runner import dispatch
from holdfast.runner.management.doctor import execution, project
from holdfast.runner.management.doctor.execution import beating
from holdfast.runner.management.doctor.finding import Finding

__all__ = ["Finding", "beating", "examine"]


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which the parts need each other."""
    yield project.versions()
    configured = project.project_settings()
    yield configured
    database = project.database()
    yield database
    silent = "the database cannot be used" if database.verdict == "wrong" else ""
    yield from project.backends()
    migrations = _unless(silent, project.migrations)
    if migrations.mend and configured.verdict == "wrong":  # `migrate` refuses while a check fails
        migrations = replace(migrations, mend=f"mend the settings first; then {migrations.mend}")
    yield migrations
    yield _unless(silent, project.clock)
    bare = "" if dispatch.project_app() else "the project has no Celery app, see settings"
    on_database = execution.celery_broker().startswith("holdfast://")
    broker = _unless(bare or (silent if on_database else ""), execution.broker)
    yield broker
    unheard = {"skipped": "the broker was not looked at", "wrong": "the broker cannot be used"}
    yield _unless(bare or unheard.get(broker.verdict, ""), execution.workers)
    yield _unless(silent or bare, execution.sweep)


def _part(look: Callable[..., Any]) -> str:
    return look.__name__


def _unless(missing: str, look: Callable[[], Finding]) -> Finding:
    """The look, or why there is none."""
    return _skipped(look, missing) if missing else _guarded(look)


def _guarded(look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - a look that fails is a finding, and the next one still runs
        return Finding(
            part=_part(look),
            verdict="wrong",
            detail=f"{type(error).__name__}: {' '.join(str(error).split())}",
        )


def _skipped(look: Callable[[], Finding], why: str) -> Finding:
    return Finding(part=_part(look), verdict="skipped", detail=f"not looked at: {why}")
