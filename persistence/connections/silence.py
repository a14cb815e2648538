"""Ends connections whose other side has fallen silent: a firewall forgot them, a proxy keeps what it is sent.

Nobody tells the client then, and it waits for hours; TCP's own limits, as far as they are set, see no silence
behind a proxy that acknowledges. Which connection is silent, others decide.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

from holdfast.persistence.connections.opening import conninfo

_LIMITS = ("connect_timeout", "tcp_user_timeout")


def hang_up(connection: psycopg.Connection[Any]) -> None:
    """Break it under whoever waits for its answer, on another thread: they get psycopg.OperationalError."""
    with suppress(psycopg.Error, OSError):  # it has ended already
        with socket.socket(fileno=os.dup(connection.fileno())) as both:
            both.shutdown(socket.SHUT_RDWR)


def limit_waits(wrapper: BaseDatabaseWrapper) -> None:
    """Let this thread's Django connection wait no longer than our own to be opened, or to be heard by the server."""
    ours = conninfo(wrapper.alias)
    options = {name: ours[name] for name in _LIMITS} | wrapper.settings_dict["OPTIONS"]
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": options}
