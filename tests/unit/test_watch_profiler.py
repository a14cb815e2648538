"""P9: the limit of processor time shares its timer with nobody: a profiler that comes later keeps it."""

from __future__ import annotations

import subprocess
import sys

PROFILED = """
import signal, time
import django
django.setup()
from holdfast.runner.runs.watch import _Burnt

limit = _Burnt()
limit.put_off(60.0)
assert signal.getitimer(signal.ITIMER_PROF)[0] > 50
samples = []
before = signal.signal(signal.SIGPROF, lambda *_: samples.append(1))
signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)
for _ in range(20):
    limit.put_off(60.0)  # as each beat does
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
assert len(samples) >= 10, samples
signal.setitimer(signal.ITIMER_PROF, 0)
signal.signal(signal.SIGPROF, before)
limit.put_off(60.0)
assert signal.getitimer(signal.ITIMER_PROF)[0] > 50
"""


def test_a_profiler_that_comes_after_the_heartbeat_keeps_its_timer() -> None:
    done = subprocess.run([sys.executable, "-c", PROFILED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
