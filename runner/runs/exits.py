"""Whose exit is it: the process's, which was told to go, or a node's, which called ``sys.exit()``?

Both arrive as the same exceptions. The first gives its run back uncounted, and another process goes on (R13). The
second is the run's own failure, as any other exception is: given back, it would end one process after the
other, for ever (P9). Nothing here touches a run.
"""

from __future__ import annotations

import signal
import threading
import traceback

_BILLIARD = "billiard.common"
"""Where the handler of a prefork child's SIGTERM and SIGQUIT stands; it takes itself away before it raises."""


def told_to_go(error: BaseException) -> bool:
    """Whether a handler of a signal raised the exception, in this thread."""
    if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
        return False  # Python executes its handlers in the main thread
    if isinstance(error, KeyboardInterrupt):  # its handler is written in C, and leaves no frame
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()}
    return any(
        frame.f_code in handlers or frame.f_globals.get("__name__") == _BILLIARD
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
