"""What all tests share: nothing here starts a process or opens a connection."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

# The same examples each time; `--hypothesis-profile=explore` looks for others.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("steady")

# A suite that a shell runs in the background ignores Ctrl-C, and so would all that its tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest closes the folder above all its sessions' folders to other users whenever a session begins; PostgreSQL
# servers of another session, which run as a user of their own, lose their files by that (seen). So: our own.
if "PYTEST_DEBUG_TEMPROOT" not in os.environ:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(prefix="holdfast-tests-")
    os.chmod(os.environ["PYTEST_DEBUG_TEMPROOT"], 0o755)
    atexit.register(shutil.rmtree, os.environ["PYTEST_DEBUG_TEMPROOT"], ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, None]:
    """Put the logs of a failed test's worker processes beside its traceback."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for name, value in getattr(item, "funcargs", {}).items():
        logs = getattr(value, "logs", None)
        if callable(logs):
            report.sections.append((f"worker logs ({name})", logs()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`: a process more than cores, since tests of processes mostly wait for them."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Beside others, begin with the files that take longest: those of processes. Last, they would be waited for alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in {"acceptance", "project"})
