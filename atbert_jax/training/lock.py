"""One process at a time writes into a folder, as a training into that of its run."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from atbert_jax.training.checkpoint import CheckpointError

FILE = ".lock"


@contextlib.contextmanager
def held(
    workdir: Path,
    *,
    needed: bool = True,
    doing: str = "trained",
    flag: str = "--workdir",
    name: str = FILE,
) -> Iterator[None]:
    """Keeps other processes that write out of a folder, which is made where it is missing.

    The kernel holds the lock, and lets go of it when the process ends, however it does. On a file
    system without locks nothing is held, with a warning.

    Args:
        workdir: The run's folder.
        needed: Whether this process is the one that writes; others hold nothing.
        doing: What is done with it, for the message.
        flag: That names it.
        name: Of the file that is locked; others in the folder stay free.

    Raises:
        CheckpointError: if another process holds it; the message says which.
    """
    if not needed:
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / name).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(
                f"{workdir} is being {doing} by {_holder(workdir / name)}; wait for it, stop it,"
                f" or use another {flag}"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise
            message = "%s: this file system has no locks; start one command in it at a time"
            logging.getLogger(__name__).warning(message, workdir)
        file.truncate(0)
        file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield


def _holder(file: Path) -> str:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return f"process {found['process']} on host {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it may be just about to write it
        return "another process"
