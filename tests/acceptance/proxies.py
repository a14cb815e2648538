"""A TCP proxy between a client and its server, through which a test takes the server's answers away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass


@dataclass
class Cut:
    """When the connection breaks: after the server's answer to a message, before the client has it."""

    asked: bytes
    """What the client's message contains."""
    answered: bytes
    """What the answer contains that the client does not get."""
    heard: bool = False
    done: bool = False


class Proxy:
    """Passes bytes both ways between a port of its own and a server."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.silent = threading.Event()
        """While set, everything is swallowed, as by a firewall; a connection that was silent stays so."""
        self.lose: bytes | None = None
        """The connection whose client says this becomes silent; once."""
        self.swallowed = 0
        """How many connections have lost what their client sent."""
        self._cut: Cut | None = None
        self._open: list[socket.socket] = [self._server]

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            _end(each)

    def cut(self, asked: bytes, answered: bytes) -> Cut:
        """Break the connection at the next such answer, once."""
        self._cut = Cut(asked, answered)
        return self._cut

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [client, server]
            heard = threading.Event()
            for source, sink in ((client, server), (server, client)):
                arguments = (source, sink, source is client, heard)
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, from_client: bool, heard: threading.Event
    ) -> None:
        swallowing = False
        try:
            while data := source.recv(1 << 20):
                lost = from_client and self.lose is not None and self.lose in data
                if lost:
                    self.lose = None
                if not swallowing and (lost or self.silent.is_set()):
                    swallowing = True
                    self.swallowed += from_client
                cut = self._cut
                if cut is not None and not cut.done:
                    if from_client and cut.asked in data:
                        cut.heard = True
                        heard.set()
                    elif not from_client and heard.is_set() and cut.answered in data:
                        cut.done = True
                        break
                if not swallowing:
                    sink.sendall(data)
        except OSError:
            pass
        _end(source)
        _end(sink)


def _end(each: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        each.shutdown(socket.SHUT_RDWR)
    each.close()
