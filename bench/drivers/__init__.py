"""Processes that enqueue and look, one a lane, told what to do by lines of JSON on standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


def serve(deeds: Mapping[str, Callable[..., Any]]) -> None:
    """Do what each line asks, and answer with a line, until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(deeds[request.pop("what")](**request)), flush=True)
