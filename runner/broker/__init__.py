"""Celery's broker on PostgreSQL: a kombu transport on LISTEN/NOTIFY and SKIP LOCKED, for any Celery app.

Importing this module makes two kinds of broker URL known to kombu:

``holdfast+postgresql://user:password@host:port/database``
    stands alone and needs no Django; the tables are made at first use.
``holdfast://alias``
    the Django database of that alias: publishes through Django's own connection of the calling
    thread, hence inside its transaction, and consumes on one connection of its own a process.

It never unpickles anything by itself, and never needs a superuser or an extension.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT_ALIASES["holdfast"] = "holdfast.runner.broker.transport:Transport"
TRANSPORT_ALIASES["holdfast+postgresql"] = "holdfast.runner.broker.transport:Transport"
