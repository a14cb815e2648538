"""What the broker's connections raise; kombu and Celery recover from the first kind by reconnecting."""

from __future__ import annotations

from kombu.exceptions import OperationalError


class BrokerConnectionError(OperationalError):
    """The session is lost, or cannot be had: connect again. Nothing taken is lost by it."""


class BrokerSchemaError(OperationalError):
    """The broker's tables are not there; ``manage.py migrate`` makes them."""


class UnreadableMessageError(ValueError):
    """What was taken is no message: broken, or put there by something else than kombu."""
