"""The half of the channel that declares: queues and bindings, and what becomes of them.

They stand in tables, which every process of the broker reads; nothing is routed or delivered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from amqp.protocol import queue_declare_ok_t
from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments

from holdfast.runner.broker.routing import Binding, topic_pattern


class Declarations(virtual.Channel):
    """Queues, bindings and exchanges of one connection; ``connection`` is our transport."""

    connection: Any

    def prepare_queue_arguments(self, arguments: dict[str, Any], **kwargs: Any) -> Any:
        return to_rabbitmq_queue_arguments(arguments, **kwargs)

    def queue_declare(
        self,
        queue: str | None = None,
        passive: bool = False,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Declare the queue, or with ``passive`` raise ChannelError (404) if it is not there."""
        queue = queue or f"amq.gen-{uuid4()}"
        if passive:
            if not self.connection.link.rows("has_queue", {"queue": queue})[0][0]:
                raise ChannelError(
                    f"NOT_FOUND - no queue {queue!r}", (50, 10), "Channel.queue_declare", "404"
                )
        else:
            own = self.connection.link.session if exclusive or auto_delete else None
            self.connection.link.declare(
                "declare_queue",
                {
                    "pid": own and own.pid,
                    "start": own and own.start,
                    "queue": queue,
                    "durable": bool(durable),
                    "exclusive": bool(exclusive),
                    "auto_delete": bool(auto_delete),
                    "expires": (arguments or {}).get("x-expires"),
                    "message_ttl": (arguments or {}).get("x-message-ttl"),
                },
            )
            if exclusive or auto_delete:
                self.connection.transient.add(queue)
        return queue_declare_ok_t(queue, self._size(queue) if passive else 0, 0)

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Bind it, in the way of the exchange's type as this connection declared it."""
        exchange = exchange or "amq.direct"
        kind = self.typeof(exchange).type
        pattern = topic_pattern(routing_key) if kind == "topic" else None
        binding: Binding = {
            "exchange": exchange,
            "queue": queue,
            "routing_key": routing_key,
            "kind": kind,
            "pattern": pattern,
        }
        self.connection.link.declare("bind", binding)
        if queue not in self.connection.transient:
            self.connection.bound.setdefault(exchange, {})[queue, routing_key] = binding

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        exchange = exchange or "amq.direct"
        self.connection.bound.get(exchange, {}).pop((queue, routing_key), None)
        self.connection.link.count(
            "unbind", {"exchange": exchange, "queue": queue, "routing_key": routing_key}
        )

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> None:
        if if_empty and self._size(queue):
            return
        for bindings in self.connection.bound.values():
            for key in [key for key in bindings if key[0] == queue]:
                del bindings[key]
        self.connection.link.count("delete_queue", {"queue": queue})

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:
        for queue, source, routing_key in list(self.list_bindings()):
            if source == exchange:
                self.queue_unbind(queue, exchange, routing_key)
        self.state.exchanges.pop(exchange, None)

    def list_bindings(self) -> Iterable[tuple[str, str, str]]:
        """(queue, exchange, routing key) of every binding that the broker knows."""
        return ((row[0], row[1], row[2]) for row in self.connection.link.rows("bindings"))

    def _size(self, queue: str) -> int:
        return int(self.connection.link.rows("size", {"queue": queue})[0][0])

    def _purge(self, queue: str) -> int:
        return int(self.connection.link.count("purge", {"queue": queue}))
