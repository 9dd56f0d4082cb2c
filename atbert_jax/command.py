"""What every command shares: flags, and errors that end in one clear line."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

from atbert_jax.parallel.xla_flags import set_xla_flags
from input_pipeline.audio.allocation import keep_freed_memory


def run(
    main: Callable[..., None], *, required: Sequence[str] = (), takes_arguments: bool = False
) -> None:
    """Parses the flags, runs `main`, and turns its expected errors into one line on stderr.

    Expected are ValueError and OSError, which say where, what and the way out; set
    ATBERT_TRACEBACK=1 to see where they come from. The exit code is 1 then, and 2 for a wrong flag.
    """
    # Programs that were compiled once are found again, by the next command too.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "atbert_jax"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it announces itself on every start
    set_xla_flags()
    keep_freed_memory()
    flags.mark_flags_as_required(required)

    def guarded(arguments: list[str]) -> None:
        if len(arguments) > 1 and not takes_arguments:
            fail(f"unexpected argument {arguments[1]!r}; see --help", 2)
        # What libraries are doing is not what a person wants to read between the lines of progress.
        logging.set_verbosity(logging.WARNING)
        main(arguments[1:]) if takes_arguments else main()

    try:
        app.run(guarded, flags_parser=_parse)
    except (ValueError, OSError) as error:
        if os.environ.get("ATBERT_TRACEBACK"):
            raise
        fail(str(error), 1)


def _parse(arguments: list[str]) -> list[str]:
    """Absl's parser, with the errors of config overrides as one line too."""
    try:
        return flags.FLAGS(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        fail(str(error).strip("\"'"), 2)


def fail(message: str, code: int) -> None:
    """Ends the program with one line on stderr."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(code)
