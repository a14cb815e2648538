"""The channel: publishing and taking, as kombu's virtual transports have them.

Routing happens in the database, in the statement that publishes, from the table of bindings. A
channel never keeps a message that it has not handed to its consumer.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import Any

from kombu.utils.json import dumps

from holdfast.runner.broker.batch import PublishBatch
from holdfast.runner.broker.declarations import Declarations
from holdfast.runner.broker.errors import UnreadableMessageError
from holdfast.runner.broker.holding import Holding
from holdfast.runner.broker.link import Taken
from holdfast.runner.broker.message import Message, decoded
from holdfast.runner.broker.outgoing import Outgoing
from holdfast.runner.broker.qos import QoS
from holdfast.runner.broker.routing import matching

logger = logging.getLogger("holdfast.broker")

BATCH = 100
"""Messages taken in one statement at most."""


class Channel(Declarations):
    """One channel of one kombu connection; its tags are the ids of the messages."""

    QoS = QoS
    Message = Message
    supports_fanout = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.holding: Holding = connection.link.holding
        self.dirty = True
        self._turns: deque[str] = deque()
        self._unacknowledged: set[str] = set()

    # publishing

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, str | None]:
        """Text stays text, so that a person can read it in the table; bytes become base64."""
        if isinstance(body, str):
            return body, "utf-8"
        return b64encode(body).decode("ascii"), "base64"

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """One copy to each queue that is bound; durable when this returns, or with the transaction."""
        self.connection.link.publish([self.addressed(message, exchange, routing_key)])

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """What kombu's ``Producer.batch()`` publishes through, from kombu 5.7 on."""
        return PublishBatch(self, max_size)

    def addressed(self, message: dict[str, Any], exchange: str, routing_key: str) -> Outgoing:
        """A message as the statement ``publish`` takes it."""
        self._inplace_augment_message(message, exchange, routing_key)
        expiration = message["properties"].get("expiration")
        return {
            "exchange": exchange,
            "routing_key": routing_key,
            "queues": [routing_key]
            if not exchange
            else matching(self.connection.bound.get(exchange, {}).values(), routing_key),
            "priority": self._get_message_priority(message),
            "payload": dumps(message),
            "ttl": float(expiration) / 1000 if expiration not in (None, "") else None,
        }

    # consuming

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **kwargs: Any
    ) -> None:
        self.connection.begin_consuming(queue)
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if no_ack:
            self._unacknowledged.add(queue)
        self._turns.append(queue)
        self.dirty = True

    def basic_cancel(self, consumer_tag: str) -> None:
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is not None:
            self._unacknowledged.discard(queue)
            if queue in self._turns:
                self._turns.remove(queue)
            self.connection.end_consuming(queue)

    def consumes(self, queue: str) -> bool:
        """Whether this channel has a consumer of the queue."""
        return queue in self._turns

    def wants(self) -> bool:
        """Whether there may be something to take, and a place for it."""
        return bool(self.dirty and self._consumers and self.qos.can_consume())

    def deliver(self, limit: int = BATCH) -> int:
        """Take what may be taken and hand it to the consumers; the number of messages handed over."""
        if not self.wants():
            return 0
        room = self.qos.free(min(limit, BATCH))
        self.dirty = False
        silent = [queue for queue in self._turns if queue in self._unacknowledged]
        answering = [queue for queue in self._turns if queue not in self._unacknowledged]
        delivered = 0
        for statement, queues in (("take_and_delete", silent), ("take", answering)):
            if queues and room > delivered:
                messages, contended = self.connection.link.take(statement, queues, room - delivered)
                self.dirty = self.dirty or len(messages) == room - delivered
                if contended:
                    self.connection.look_soon()
                self._hand_over(messages, held=statement == "take")
                delivered += len(messages)
            elif queues:
                self.dirty = True
        return delivered

    def _hand_over(self, messages: list[Taken], *, held: bool) -> None:
        waiting = deque(messages)
        try:
            while waiting:
                taken = waiting.popleft()
                queue = taken[1]
                if queue in self._turns:
                    self._turns.remove(queue)
                    self._turns.append(queue)
                try:
                    self.connection._deliver(decoded(taken), queue)
                except UnreadableMessageError as error:
                    self._discard(taken, error)
        finally:
            if waiting and held:  # a callback raised: nobody will ever answer the rest
                self.holding.release([tag for tag, *_ in waiting])
                self.dirty = True

    def _discard(self, taken: Taken, error: UnreadableMessageError) -> None:
        """Nobody will ever read it: handed out again, it would end one consumer after the other."""
        tag, queue, *_ = taken
        logger.error("message %s of queue %r is deleted: %s", tag, queue, error)
        self.holding.acknowledge([tag])
        self.dirty = True

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """The next message of the queue, or None."""
        while True:
            messages, _ = self.connection.link.take("take_and_delete" if no_ack else "take", [queue], 1)
            if not messages:
                return None
            try:
                message = self.Message(decoded(messages[0]), channel=self)
            except UnreadableMessageError as error:
                self._discard(messages[0], error)
                continue
            if not no_ack:
                self.qos.append(message, message.delivery_tag)
            return message

    def basic_recover(self, requeue: bool = False) -> None:
        if not requeue:
            raise NotImplementedError("only recover(requeue=True) is known here")
        self.qos.restore_unacked()
        self.dirty = True

    def abandon(self) -> dict[str, Any]:
        """Close without a word to the server; what was held, for the next session to take up."""
        held: dict[str, Any] = self.qos.surrender()
        self.closed = True
        self._consumers.clear()
        self._tag_to_queue.clear()
        self._active_queues.clear()
        self._turns.clear()
        self.connection = None
        return held
