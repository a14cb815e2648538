"""`holdfast up`: everything starts, answers, is restarted when it dies, and ends without a trace."""

from __future__ import annotations

import base64
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from holdfast.runner.supervisor import Service, Supervisor

COMMAND = [sys.executable, "-m", "holdfast.runner.management.command"]
PATIENCE = 60.0
"""Seconds that a line of output is awaited."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Terminal:
    """A process whose output lines are awaited, never slept for."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, *texts: str) -> None:
        """Read on until each of the texts has been said since the last call."""
        wanted, give_up = set(texts), time.monotonic() + PATIENCE
        while wanted:
            try:
                line = self._lines.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"never said {wanted}:\n{self.said}")
            self.said += line
            wanted = {text for text in wanted if text not in line}

    def close(self) -> None:
        """End it as Ctrl-C does, and leave nothing open."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def terminal(bare: dict[str, str], ports: tuple[int, int]) -> Iterator[Terminal]:
    up = Terminal([*COMMAND, "up", "--port", str(ports[0]), "--flower-port", str(ports[1])], bare)
    yield up
    up.close()


def answer(url: str, login: str = "") -> int:
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_up_from_the_first_line_to_the_last(
    terminal: Terminal, bare: dict[str, str], ports: tuple[int, int]
) -> None:
    terminal.until("Holdfast is up", "worker@", "Uvicorn running")
    home = Path(bare["HOLDFAST_HOME"])
    password = (home / "password").read_text().strip()
    for secret in ("password", "secret_key", "env"):
        assert stat.S_IMODE((home / secret).stat().st_mode) == 0o600
    assert password in terminal.said

    site = f"http://127.0.0.1:{ports[0]}"
    assert answer(f"{site}/healthz") == 200
    assert answer(f"{site}/admin/login/") == 200
    assert answer(f"{site}/static/admin/css/base.css") == 200

    # Another terminal, pointed here by the file that the banner names, runs a graph on the real worker.
    script = f'. {home}/env && exec "$0" "$@"'
    enqueue = [*COMMAND, "enqueue", "approval", '{"request": "x"}', "--watch", "--json"]
    done = subprocess.run(
        ["sh", "-c", script, *enqueue], env=bare, capture_output=True, text=True, check=False, timeout=60
    )
    assert '"status": "interrupted"' in done.stdout, done.stderr + terminal.said
    path = subprocess.run(
        ["sh", "-c", f'. {home}/env && echo "$PATH"'], env=bare, capture_output=True, text=True, check=True
    )
    assert path.stdout.startswith(f"{Path(sys.executable).parent}:")  # where the command `holdfast` is
    doctor = subprocess.run(
        ["sh", "-c", script, *COMMAND, "doctor"],
        env=bare,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert doctor.returncode == 0, doctor.stdout

    flower = f"http://127.0.0.1:{ports[1]}/"
    assert answer(flower) == 401
    assert answer(flower, f"holdfast:{password}") == 200

    # A second `up` on the same home is told who is there; so is one on a taken port.
    again = subprocess.run(
        [*COMMAND, "up", "--port", str(free_port()), "--no-flower"],
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert f"Process {terminal.process.pid} already runs" in again.stderr
    taken = subprocess.run(
        [*COMMAND, "up", "--port", str(ports[0]), "--no-flower"],
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"Port {ports[0]} is taken" in taken.stderr
    assert len(taken.stderr.splitlines()) == 1

    family = terminal.family()
    assert len(family) > 4
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("all stopped")
    assert terminal.process.wait(PATIENCE) == 0
    _, left = psutil.wait_procs(family, timeout=5)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
    assert not (home / "pg" / "postmaster.pid").exists()
    assert not (home / "env").exists()


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"  # until killed
SUPERVISE = """
import sys
from holdfast.runner.supervisor import Service, Supervisor
services = [Service(name=str(i), command=[sys.executable, "-u", "-c", code], env={}, patience=0.2)
            for i, code in enumerate(sys.argv[1:])]
Supervisor(services, lambda name, line: print(name, line, flush=True)).run()
print("end", flush=True)
"""


@pytest.fixture
def supervised() -> Iterator[Callable[..., Terminal]]:
    """Starts a process that supervises children of the given code."""
    started: list[Terminal] = []

    def start(*codes: str) -> Terminal:
        started.append(Terminal([sys.executable, "-c", SUPERVISE, *codes], dict(os.environ)))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


def test_a_child_that_dies_is_started_again(supervised: Callable[..., Terminal]) -> None:
    terminal = supervised("print('hello'); raise SystemExit(3)")
    terminal.until("0 *** ended with exit code 3; starting again in 1 s")
    terminal.until("0 hello")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.until("end")
    assert terminal.process.wait(PATIENCE) == 0


def test_a_child_that_will_not_stop_is_killed_with_what_it_started(
    supervised: Callable[..., Terminal],
) -> None:
    nested = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid); {STUBBORN}"
    terminal = supervised(nested)
    terminal.until("0 deaf")
    family = terminal.family()
    assert len(family) == 2
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("0 *** did not stop in time, killed", "end")
    _, left = psutil.wait_procs(family, timeout=5)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_the_children_of_a_killed_supervisor_end_too(supervised: Callable[..., Terminal]) -> None:
    terminal = supervised("import time; print('here', flush=True); time.sleep(600)")  # until told to end
    terminal.until("0 here")
    family = terminal.family()
    terminal.process.kill()
    _, left = psutil.wait_procs(family, timeout=5)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []


def test_groups_are_stopped_one_after_the_other() -> None:
    code = "import signal, sys; print('up', flush=True); signal.sigwait([signal.SIGTERM]); print('bye', flush=True)"
    block = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); "
    said: list[str] = []

    def say(name: str, line: str) -> None:
        said.append(f"{name} {line}")
        if sum(text.endswith(" up") for text in said) == 2 and line == "up":
            os.kill(os.getpid(), signal.SIGTERM)

    services = [
        Service(name=name, command=[sys.executable, "-c", block + code], env={}, stops=stops)
        for name, stops in (("late", 1), ("early", 0))
    ]
    Supervisor(services, say).run()
    assert [text for text in said if text.endswith("bye")] == ["early bye", "late bye"]
