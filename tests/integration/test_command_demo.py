"""`holdfast demo`: its own checks hold, it refuses what it cannot tell, and it ends in time."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "holdfast.runner.management.command", "demo"]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder of seven small texts."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(7):
        text = (
            f"# Paper {number}\n\nIt was seen {number} times. Nobody knows why. The sea was calm that day.\n"
        )
        (folder / f"paper-{number}.md").write_text(text)
    return folder


def demo(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=env, capture_output=True, text=True, check=False, timeout=150
    )


def test_p3_p4_the_story_is_told_and_holds(bare: dict[str, str], documents: Path) -> None:
    done = demo(str(documents), env=bare)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "a digest of 7 documents",
        "kill -9, in the middle",
        "✓ no finished node ran twice",
        "✓ two deliveries shared the work",
        "✓ one row in the database",
        "✓ each effect happened once",
        "7 of 7 summaries came out of the cache",
        "✓ every summary of the second run was cached",
        "All of it holds",
    ):
        assert line in done.stdout, done.stdout
    stored = re.search(r"(\d+) of 7 summaries were in the database by then", done.stdout)
    assert stored is not None
    assert f"✓ {stored[1]} summaries outlived the kill" in done.stdout
    went_on = re.search(r"executed it (\d+\.\d) s after the kill", done.stdout)
    assert went_on is not None
    assert float(went_on[1]) < 10  # P8 says 2, of a machine that has nothing else to do
    assert len(done.stdout.splitlines()) < 60, done.stdout
    assert max(map(len, done.stdout.splitlines())) < 200, "a pipe is given no line across a screen"
    assert re.search(r"summarise ×7 .* cached", done.stdout), done.stdout
    published = Path(bare["HOLDFAST_HOME"]) / "demo" / "published"
    assert len(list(published.glob("*.md"))) == 1
    held = [
        p
        for p in psutil.process_iter(["cmdline"])
        if str(published.parent) in " ".join(p.info["cmdline"] or [])
    ]
    assert held == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_broken_off_leaves_no_process_behind(
    bare: dict[str, str], documents: Path, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen([*COMMAND, str(documents)], env=bare, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "enqueued run" not in process.stdout.readline():  # by then both workers are there
        assert process.poll() is None
    assert len(_of(bare)) > 3
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert _of(bare) == []


def _of(env: dict[str, str]) -> list[psutil.Process]:
    """The processes that live in the demo's home."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOLDFAST_HOME", "").startswith(env["HOLDFAST_HOME"]):
                found.append(process)
    return found


@pytest.mark.parametrize(
    ("content", "told"), [({}, "Nothing to digest"), ({"a.bin": b"\x00\xff"}, "Nothing to digest")]
)
def test_p11_a_folder_without_documents_is_one_line(
    bare: dict[str, str], tmp_path: Path, content: dict[str, bytes], told: str
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    done = demo(str(folder), env=bare)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_folder_that_is_not_there_is_a_wrong_argument(bare: dict[str, str], tmp_path: Path) -> None:
    assert demo(str(tmp_path / "nowhere"), env=bare).returncode == 2
