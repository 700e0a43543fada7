"""A child of the supervisor ends when the supervisor does, however that ended.

`python -m hospintel_site.lifetime COMMAND...` becomes a command that gets SIGTERM when its parent ends (Linux).
"""

import ctypes
import os
import platform
import signal
import sys
import threading
import time

VARIABLE = "HOSPINTEL_SUPERVISOR"
_LIBC = ctypes.CDLL(None, use_errno=True) if platform.system() == "Linux" else None
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> bool:
    """Ask for SIGTERM when our parent ends; False where the system has no such thing."""
    return _LIBC is not None and _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) == 0


def end_with_supervisor() -> None:
    """Arrange for SIGTERM when the process named in HOSPINTEL_SUPERVISOR ends. Does nothing in a process without it."""
    supervisor = int(os.environ.get(VARIABLE) or 0)
    # Grandchildren inherit the variable; their own parents look after them.
    if not supervisor or os.getppid() != supervisor:
        if supervisor and os.getppid() == 1:
            sys.exit("The supervisor is gone.")
        return
    if end_with_parent():
        if os.getppid() != supervisor:  # it ended just before the call
            sys.exit("The supervisor is gone.")
        return
    watch = threading.Thread(target=_watch, args=(supervisor,), daemon=True, name="supervisor-watch")
    watch.start()


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent()  # it outlives the exec
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - what our parent asked for
