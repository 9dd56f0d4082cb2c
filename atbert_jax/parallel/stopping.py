"""What SIGTERM and Ctrl-C do while there is nothing to save: the program ends at once.

No other module is imported here, for this holds from the first line of a command on.
"""

import contextlib
import os
import signal
import sys
import types
from collections.abc import Iterator

# EX_TEMPFAIL of <sysexits.h>: nothing is wrong, run the same command again.
STOPPED = 75


def leave_at_once() -> None:
    """From here on SIGTERM and SIGINT end this process with `STOPPED` and one line on stderr.

    It ends as by a kill, which files and checkpoints survive; so no library can hold it up, and
    none can swallow the exception that it would be instead.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(number: int, frame: types.FrameType | None) -> None:
    del frame
    with contextlib.suppress(Exception):  # what it may be within, as another write
        sys.stdout.flush()
    name = signal.Signals(number).name
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # rich hides it while it waits
    text = f"{show_cursor}\nstopped by {name}; the same command goes on (exit code {STOPPED})\n"
    os.write(2, text.encode())
    os._exit(STOPPED)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Lets what is within end before a signal does what it is there for."""
    waiting: list[int] = []

    def wait(number: int, frame: types.FrameType | None) -> None:
        del frame
        waiting.append(number)

    try:
        before = {number: signal.signal(number, wait) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # signals come to the main thread alone
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting[:1]:
            signal.raise_signal(number)
