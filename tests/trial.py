"""Trials: a reader meets damaged files in a process of its own, with bounds on memory and time.

A crash or a hang of a decoder is then a failure that names the file, not the end of the tests.
"""

import faulthandler
import importlib
import json
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEMORY_MB = 1024
FILE_SECONDS, ALL_SECONDS = 20, 120


def run(module: str, originals: dict[str, bytes], mutants: dict[str, bytes], folder: Path) -> dict:
    """What `module.outcomes(path)`, a list of texts, says of each mutant, by its name.

    The originals come first, outside of the bounds, so that what is imported and allocated once
    does not count.
    """
    for name, files in (("originals", originals), ("mutants", mutants)):
        (folder / name).mkdir()
        for file, data in files.items():
            (folder / name / file).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "tests.trial", module, folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        timeout=ALL_SECONDS,
    )
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, f"at {lines[-1:]}: {done.stderr[-3000:].decode(errors='replace')}"
    return dict(zip(lines[::2], map(json.loads, lines[1::2]), strict=True))


def outcome(attempt: Callable[[], object], refusal: type[Exception]) -> object:
    """The answer, or the text of the refusal; any other exception as 'its type: its text'."""
    try:
        return attempt()
    except refusal as error:
        return f"refused: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def limit_memory() -> None:
    """Leaves this process `MEMORY_MB` more of address space than it has, where that is known."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_MB * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(module: str, folder: str) -> None:
    """Prints the name of each mutant and, in the next line, what came of it."""
    outcomes = importlib.import_module(module).outcomes
    for path in sorted(Path(folder, "originals").iterdir()):
        outcomes(path)
    limit_memory()
    warnings.simplefilter("error")
    for path in sorted(Path(folder, "mutants").iterdir()):
        print(path.name, flush=True)
        faulthandler.dump_traceback_later(FILE_SECONDS, exit=True)
        print(json.dumps(outcomes(path)), flush=True)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(*sys.argv[1:])
