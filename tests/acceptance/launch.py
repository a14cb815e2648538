"""Becomes the given command, after asking the kernel to end it when the test process ends.

So a suite that is killed with -9 leaves no worker behind. (Celery's children ask the same for
themselves.) Without prctl, as on macOS, the harness's own cleanup is all there is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Replace this process by ``python`` with the arguments after the parent's pid."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(1)
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])


if __name__ == "__main__":
    main()
