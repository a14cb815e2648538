"""Several messages in one statement: kombu's ``Producer.batch()``, from kombu 5.7 on.

All messages of one flush are put in their queues, or none. Nothing is routed here.
"""

from __future__ import annotations

from typing import Any, Protocol

from holdfast.runner.broker.outgoing import Outgoing


class Channel(Protocol):
    """What a channel is to its batch."""

    connection: Any

    def addressed(self, message: dict[str, Any], exchange: str, routing_key: str) -> Outgoing:
        """A message as it is to be put in."""


class PublishBatch:
    """Same names as kombu's for Redis; belongs to one thread."""

    def __init__(self, channel: Channel, max_size: int) -> None:
        """``max_size``: messages after which a flush comes by itself."""
        self.channel = channel
        self._max_size = max_size
        self._waiting: list[Outgoing] = []

    def publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Keep the message for the next flush."""
        self._waiting.append(self.channel.addressed(message, exchange, routing_key))
        if len(self._waiting) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Put in what is kept. After an error, which is raised, it is kept no longer."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.channel.connection.link.publish(waiting)

    def discard(self) -> None:
        """Forget what is kept."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing is held open."""
