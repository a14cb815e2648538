"""How an attempt stopped: what execute says and settle writes down."""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from langgraph.types import Interrupt

import holdfast
from holdfast.graphs.spec import GraphSpec
from holdfast.persistence.backends import GuardedSaver
from holdfast.persistence.jsonb import storable


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The graph came to its end."""

    values: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Interrupted:
    """The graph asks."""

    interrupts: tuple[Interrupt, ...]
    spec: GraphSpec
    saver: GuardedSaver | None = None
    """Where its questions are, if not in Django's database."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drained:
    """The graph stopped at a step boundary because it was asked to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The graph raised."""

    exception: BaseException = field(repr=False)

    @property
    def error(self) -> dict[str, Any]:
        """For the run row."""
        kind = type(self.exception)
        return {
            "type": kind.__qualname__
            if kind.__module__ == "builtins"
            else f"{kind.__module__}.{kind.__qualname__}",
            "message": storable(_text(self.exception)[:2000]),
            "where": storable(_where(self.exception.__traceback__)),
            "traceback": storable("".join(traceback.format_exception(self.exception))[-8000:]),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """Another attempt owns the run: nothing is left to do."""


Outcome = Finished | Interrupted | Drained | Failed | Lost


_HOLDFAST: Final = Path(holdfast.__file__).parent
_FOREIGN: Final = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(str(_HOLDFAST / room) for room in ("runner", "persistence")),
)
"""Folders whose code is not the project's own."""


def _where(trace: TracebackType | None) -> str:
    """The innermost line of the project's own code; of an installed project, the innermost line of all."""
    frames = list(traceback.walk_tb(trace))
    own = [found for found in frames if not found[0].f_code.co_filename.startswith(_FOREIGN)]
    for frame, line in (own or frames)[-1:]:
        return f"{frame.f_code.co_filename}:{line}, in {frame.f_code.co_name}"
    return ""


def _text(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:  # noqa: BLE001 - the user's class; its run fails all the same
        return f"(its text cannot be had: {type(error).__name__})"
