"""The demo's first process: holds the embedded PostgreSQL while the second tells the story, and cleans up."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import holdfast
from holdfast.persistence.embedded import home
from holdfast.runner import up
from holdfast.runner.management import display

STORY: Final = "holdfast.runner.management.demo.story"
"""The module of the second process."""


def run(documents: Path | None) -> int:
    """Hold the database while the story is told; its exit code."""
    paths = [documents.resolve()] if documents else own_documents()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = display.console()
    out.print("Starting PostgreSQL …", style="dim")
    with up.surroundings(home() / "demo", use_environment=False) as around:
        up.migrate(around)
        out.print(f"{around.database}, migrated", style="dim", markup=False)
        return _told([sys.executable, "-m", STORY, *map(str, paths)], around.env)


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
