"""What all tests share: nothing here starts a process or opens a connection."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


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
