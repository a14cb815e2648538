"""How many unacknowledged messages a channel may hold, and which ones it holds.

Answers may come from any thread. A place that gets free wakes the consumer, so that it need not
look again and again. Messages are referred to weakly: who is at work on one keeps it alive.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from holdfast.runner.broker.holding import Holding


class Channel(Protocol):
    """What a channel is to its QoS."""

    holding: Holding
    connection: Any
    """The transport; None once the channel is closed."""


class QoS:
    """Takes the place of kombu's; same names where kombu or Celery use them."""

    restore_at_shutdown = True

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count or 0
        self._lock = threading.Lock()
        self._held: dict[str, weakref.ref[Any]] = {}

    def free(self, at_most: int) -> int:
        """Number of messages that may be taken now, not above ``at_most``."""
        with self._lock:
            if not self.prefetch_count:
                return at_most
            return max(0, min(at_most, self.prefetch_count - len(self._held)))

    def can_consume(self) -> bool:
        """Whether there is a place for one more."""
        return self.free(1) > 0

    def can_consume_max_estimate(self) -> int | None:
        """Number of free places; None if there is no limit."""
        return self.free(1 << 30) if self.prefetch_count else None

    def append(self, message: Any, delivery_tag: str) -> None:
        """A message has been handed out."""
        with self._lock:
            self._held[delivery_tag] = weakref.ref(message)

    def get(self, delivery_tag: str) -> Any:
        """The message of that tag, None once nobody refers to it. Raises KeyError."""
        with self._lock:
            return self._held[delivery_tag]()

    def ack(self, delivery_tag: str) -> None:
        """The message is done: delete it and free its place."""
        self.channel.holding.acknowledge([delivery_tag])
        self._answered(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Delete the message, or give it back to the head of its queue, and free its place."""
        if requeue:
            self.channel.holding.release([delivery_tag])
        else:
            self.channel.holding.acknowledge([delivery_tag])
        self._answered(delivery_tag)

    def _answered(self, delivery_tag: str) -> None:
        with self._lock:
            self._held.pop(delivery_tag, None)
        if (transport := self.channel.connection) is not None:
            transport.wake()

    def surrender(self) -> dict[str, weakref.ref[Any]]:
        """Everything that is held, and hold nothing any more."""
        with self._lock:
            held, self._held = self._held, {}
        return held

    def restore_unacked(self) -> None:
        """Give back everything that is held."""
        if held := self.surrender():
            self.channel.holding.release(held)

    def restore_unacked_once(self, stderr: object = None) -> None:
        """The same, when the channel is closed."""
        self.restore_unacked()

    def restore_visible(self, *args: object, **kwargs: object) -> None:
        """Nothing to do: the sweep gives back what belongs to gone sessions."""
