"""Several processes that train one model, and how any of them is asked to stop."""

import os
import signal
import types

import jax
from jax._src.clusters import ClusterEnv
from jax.experimental import multihost_utils

from atbert_jax.parallel.stopping import STOPPED as STOPPED


def initialize(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the other processes, if there are any; call it before anything else of JAX.

    Cloud TPU, SLURM, GKE and Open MPI tell JAX of each other; elsewhere the three arguments do.

    Args:
        coordinator: `host:port` of process 0.
        processes: How many there are.
        process: Which one this is, from 0.

    Raises:
        ValueError: if only some of the three are given.
    """
    given = (coordinator, processes, process)
    if any(value is not None for value in given):
        if None in given:
            raise ValueError(
                f"--coordinator={coordinator}, --processes={processes} and --process={process} go"
                " together; give all three, or none where the cluster tells"
            )
        jax.distributed.initialize(coordinator, processes, process)
    elif _in_a_cluster():
        jax.distributed.initialize()


def _in_a_cluster() -> bool:
    """Whether JAX knows a cluster that this process is one of several of.

    It is JAX's own detection, which knows Cloud TPU (by the metadata server of a TPU VM), GKE,
    SLURM and Open MPI. There is no public way to ask it without joining, and joining alone would
    wait for others that a SLURM job has, but not this step of it.
    """
    environment = os.environ
    if "JAX_COORDINATOR_ADDRESS" in environment:
        return True
    if int(environment.get("SLURM_STEP_NUM_TASKS", 2)) == 1:
        return False
    kinds = (kind for kind in ClusterEnv._cluster_types if not kind.opt_in_only_method)
    cluster = next((kind for kind in kinds if kind.is_env_present()), None)
    return cluster is not None and cluster.get_process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes and talks."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


class Interruption:
    """Notices SIGTERM (preemption, a scheduler's time limit) and SIGINT (Ctrl-C).

    Within the context neither ends the program: it goes on to the end of a step that all processes
    agree on. A second SIGINT does what it did before: a command ends at once (see `stopping`),
    elsewhere it is a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        # With several processes JAX itself listens to SIGTERM and tells the others.
        alone = jax.process_count() == 1
        for number in (signal.SIGINT, signal.SIGTERM) if alone else (signal.SIGINT,):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def asked(self, step: int) -> bool:
        """Whether to stop after this step; the same answer on every process."""
        if jax.process_count() == 1:
            return self._asked
        return multihost_utils.reached_preemption_sync_point(step)
