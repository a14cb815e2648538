"""Ends connections whose other side has fallen silent: a firewall forgot them, a proxy keeps what it is sent.

Nobody tells the client then, and it waits for hours; TCP's own limits, as far as they are set, see no silence
behind a proxy that acknowledges. But another connection can ask the server.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

from holdfast.persistence.connections.opening import Connection, conninfo
from holdfast.persistence.sql import query

_LIMITS = ("connect_timeout", "tcp_user_timeout")


def hang_up(connection: psycopg.Connection[Any]) -> None:
    """Break it under whoever waits for its answer, on another thread: they get psycopg.OperationalError."""
    with suppress(psycopg.Error, OSError):  # it has ended already
        with socket.socket(fileno=os.dup(connection.fileno())) as both:
            both.shutdown(socket.SHUT_RDWR)


def silent(wrapper: BaseDatabaseWrapper, asking: Sequence[Connection]) -> list[Connection]:
    """Those of the connections that wait for an answer although their backend executes nothing.

    Not to be asked where a pooler shares sessions: the backends are others then.
    """
    if not asking:
        return []
    by_pid = {connection.info.backend_pid: connection for connection in asking}
    with wrapper.cursor() as cursor:
        cursor.execute(query("session_resting"), {"pids": list(by_pid)})
        return [by_pid[pid] for (pid,) in cursor.fetchall()]


def limit_waits(wrapper: BaseDatabaseWrapper) -> None:
    """Let this thread's Django connection wait no longer than our own to be opened, or to be heard by the server."""
    ours = conninfo(wrapper.alias)
    options = {name: ours[name] for name in _LIMITS} | wrapper.settings_dict["OPTIONS"]
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": options}
