"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.lanes import Lanes
from bench.measures import MEASURES
from bench.order import Order
from bench.processes import BenchError, end_all
from bench.report import Line, as_json, as_table


def main() -> int:
    """0, unless something broke; a number that misses its target is no error."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), help="measure this (may be repeated)"
    )
    parser.add_argument("--runs", type=int, default=300, help="runs of the throughput measure (default 300)")
    parser.add_argument("--json", action="store_true", help="print JSON with each single value")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    lanes = Lanes(folder)
    lines: list[Line] = []
    code = 0
    try:
        if not lanes.has_redis:
            _tell(f"Redis does not answer at {lanes.redis.url}: nothing to compare with on it")
        order = Order(lanes=lanes, runs=asked.runs, tell=_tell)
        for name in asked.only or MEASURES:
            lines += MEASURES[name](order)
    except BenchError as error:
        _tell(f"broken: {error}")
        code = 1
    except KeyboardInterrupt:
        _tell("interrupted")
        code = 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave anything behind
        end_all()
        version = lanes.postgres.version
        lanes.end()
        shutil.rmtree(folder, ignore_errors=True)
    heading = _heading(version)
    if lines:
        print(as_json(heading, lines) if asked.json else as_table(heading, lines))
    return code


def _heading(postgres: str) -> str:
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Python {platform.python_version()}, PostgreSQL {postgres}, {os.cpu_count()} cores, load {load}, "
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC"
    )


def _tell(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
