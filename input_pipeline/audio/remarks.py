"""What is odd about files that are heard all the same: they are warned of once, and counted.

It is kept for the whole process, for a file is read by many readers and remembered by some.
"""

import logging
import threading

from atbert_jax.input_pipeline.text.visible import visible

# Files that are warned of; more of them say nothing new.
SAID = 20

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
        count = len(_remarks)
    log = logging.getLogger(__name__)
    if count <= SAID:
        log.warning("%s: %s", visible(source), remark)
    if count == SAID:
        log.warning("what is odd about further files is not said here, but counted")


def of(source: str) -> str:
    """What was said of a file; '' if nothing was."""
    said = _remarks.get(source)
    return "; ".join(list(said)) if said else ""
