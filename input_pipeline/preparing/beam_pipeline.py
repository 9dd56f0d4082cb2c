"""Runs a function on many items with Apache Beam: on all local cores, or on a cluster."""

import concurrent.futures
import importlib.util
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path


def require_beam() -> None:
    """Refuses to go on without Beam.

    Raises:
        ImportError: naming the way out.
    """
    if importlib.util.find_spec("apache_beam") is None:
        raise ImportError(
            "shards are written by Apache Beam, which is not installed; run `pip install '.[beam]'`"
            " where pyproject.toml is, or leave out --shards for a manifest alone"
        )


def run(
    function: Callable[..., object],
    items: Sequence[tuple],
    *,
    processes: int,
    flags: Sequence[str],
    log: Path,
) -> None:
    """Calls a function with each of the items; an item may be done twice.

    Without flags that is here: with one process in this one, else Beam's local runner has workers
    of its own. Not its usual choice (`DirectRunner` of Beam 2.77), which first tries to fetch and
    start Prism, a program in Go, from the internet. A local runner waits forever for a worker that
    is killed, so it runs in a process that ends with its workers.

    Args:
        function: Of an importable module.
        items: Its arguments.
        processes: How many, here.
        flags: Beam's, with `--runner` among them, for a cluster.
        log: Gets what Beam's own workers have to say.

    Raises:
        RuntimeError: if the function failed, or a worker ended; the message says why in a line.
    """
    processes = min(processes, len(items))
    if flags or processes == 1:
        _run(function, items, flags or _local(1))
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, _begin, (log,)) as pool:
        job = pool.submit(_run, function, items, _local(processes))
        try:
            job.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "a worker process ended suddenly: was it killed, or memory short (--processes=1"
                f" needs least)? See {log}. What is finished is kept, the same command goes on"
            ) from None


def _local(processes: int) -> list[str]:
    mode = "in_memory" if processes == 1 else "multi_processing"
    return [
        "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
        f"--direct_running_mode={mode}",
        f"--direct_num_workers={processes}",
    ]


def _run(function: Callable[..., object], items: Sequence[tuple], flags: Sequence[str]) -> None:
    logging.disable(logging.WARNING)  # of parts for Google's cloud, which are seldom installed
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    logging.disable(logging.NOTSET)
    try:
        with beam.Pipeline(options=PipelineOptions(list(flags))) as pipeline:
            # Reshuffled, for a runner may else give all to the worker that made the list.
            items = pipeline | beam.Create(list(items)) | beam.Reshuffle()
            _ = items | beam.MapTuple(function)
    except Exception as error:
        # Beam writes the traces of all its workers into one message; the reason stands last.
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise RuntimeError(lines[-1].strip() if lines else type(error).__name__) from error


def _begin(log: Path) -> None:
    """Prepares the process that has Beam's workers."""

    def end(*_: object) -> None:
        os._exit(1)

    def follow() -> None:
        multiprocessing.parent_process().join()
        end()

    threading.Thread(target=follow, daemon=True).start()
    # A thread waits for each worker, and fails when that ends too soon.
    threading.excepthook = end
    signal.signal(signal.SIGINT, end)
    # Beam and its workers write dozens of lines about how they begin and end.
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
