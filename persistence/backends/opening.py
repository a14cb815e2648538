"""Opens each backend once a process, at its first use and so after any fork, and closes it at the process's end."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeVar

from holdfast.errors import OutageError
from holdfast.per_process import PerProcess
from holdfast.persistence.backends.address import Kind, scheme_of, shown
from holdfast.persistence.backends.times import Times
from holdfast.persistence.backends.usable import missing
from holdfast.persistence.connections import Patience
from holdfast.persistence.saver.thinning import CheckpointKey

logger = logging.getLogger("holdfast.backends")

T = TypeVar("T")


def never(error: BaseException) -> bool:
    """No error of it passes by itself."""
    return False


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a scheme's module gives: LangGraph's own object, ready for use by any thread."""

    value: Any
    close: Callable[[], None] = lambda: None
    is_passing: Callable[[BaseException], bool] = never
    """Whether an error is the connection's or the server's, so that what failed may succeed if it is repeated."""
    ordered: bool = False
    """Of a saver: whether ``list`` gives the checkpoints of all namespaces newest first, and by pages."""
    threads: Callable[[], Iterable[str]] | None = None
    """Of a saver: the threads that it has, where that is known without reading them all."""
    delete: Callable[[str, Collection[CheckpointKey]], None] | None = None
    """Of a saver: deletes these checkpoints of a thread, with their writes and the values that only they have."""
    times: Times | None = None
    """Of a store: its items' times, where they can be set."""
    sealed: bool = False
    """Of a saver: whether it takes no serializer, so that values have to be encoded before it sees them."""
    inline: bool = False
    """Of a saver: whether it stores plain values around its serializer, so that encrypted ones must be sealed, too."""


def patiently(call: Callable[[], T], is_passing: Callable[[BaseException], bool], where: str) -> T:
    """Repeat on errors that pass, for up to LEASE seconds (R3). Only for what may be repeated. Raises OutageError."""
    patience = Patience()
    while True:
        try:
            return call()
        except Exception as error:  # which of them pass, the backend says
            if not is_passing(error):
                raise
            logger.warning("%s: %s", where, error)
            if not patience.wait():
                raise OutageError(
                    f"{where} did not answer for {patience.seconds:g} s: {error}", alias=where
                ) from error


class _Backends:
    """Those that this process has opened."""

    def __init__(self) -> None:
        self._opened: dict[tuple[Kind, str], Opened] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def get(self, kind: Kind, address: str) -> Opened:
        with self._lock:
            if (kind, address) not in self._opened:
                self._opened[kind, address] = _open(kind, address)
            return self._opened[kind, address]

    def close(self) -> None:
        with self._lock:
            while self._opened:
                (kind, address), opened = self._opened.popitem()
                try:
                    opened.close()
                except Exception as error:  # noqa: BLE001 - the process ends; the others are to be closed too
                    logger.warning("%s %s was not closed: %s", kind, shown(address), error)


def _open(kind: Kind, address: str) -> Opened:
    scheme = scheme_of(address, kind)
    try:
        module = import_module(f"holdfast.persistence.backends.{scheme.module}")
    except ImportError as error:
        if scheme.extra is None:
            raise
        raise missing(address, kind, error) from error
    opener: Callable[[str], Opened] = getattr(module, f"open_{kind.lower()}")
    return patiently(lambda: opener(address), module.is_passing, shown(address))


_backends: Final = PerProcess(_Backends)


def opened(kind: Kind, address: str) -> Opened:
    """This process's backend at that address. Raises ConfigurationError, OutageError."""
    return _backends().get(kind, address)


def close_backends() -> None:
    """Close all that this process has opened; the next use opens them again."""
    _backends().close()
