"""A pool that says of itself what gevent's and eventlet's say, for workers without either library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from celery.concurrency.thread import TaskPool as Threads


class TaskPool(Threads):
    """Threads under another flag."""

    is_green = True

    def spawn_n(self, function: Callable[..., Any], *arguments: Any) -> None:
        """What Celery asks of such a pool for its remote control."""
        threading.Thread(target=function, args=arguments, daemon=True).start()
