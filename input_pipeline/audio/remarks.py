"""What is odd about files that are heard all the same: each is warned of once, and can be counted.

It is kept for the whole process, for a file is read by many readers and remembered by some.
"""

import logging
import threading

_lock = threading.Lock()
_remarks: dict[str, dict[str, None]] = {}


def add(source: str, remark: str) -> None:
    """Warns of a file, the first time that this is said of it.

    Args:
        source: The file, as errors name it.
        remark: What is odd, and what is done about it.
    """
    with _lock:
        said = _remarks.setdefault(source, {})
        if remark in said:
            return
        said[remark] = None
    logging.getLogger(__name__).warning("%s: %s", source, remark)


def of(source: str) -> str:
    """What was said of a file; '' if nothing was."""
    said = _remarks.get(source)
    return "; ".join(list(said)) if said else ""
