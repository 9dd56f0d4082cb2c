"""Whether a process is alone or one of a cluster, as JAX sees it."""

import jax
import pytest
from jax._src.clusters import cloud_tpu_cluster

from atbert_jax.parallel import distributed

TWO = "host0,host1"
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[001-002]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:57911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}
VARIABLES = (*SLURM, *OPEN_MPI, "SLURM_STEP_NUM_TASKS", "TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID")
VARIABLES += ("TPU_PROCESS_ADDRESSES", "TPU_SKIP_MDS_QUERY", "JAX_COORDINATOR_ADDRESS")


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine one of a kind, and tells whether a process on it joins others."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: joined.append(given))

    def joins(*, tpu_vm: bool = False, metadata: dict | None = None, **environment: str) -> bool:
        def get_metadata(name: str) -> tuple[str, int]:
            return (metadata[name], 200) if name in metadata else ("not found", 404)

        monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", tpu_vm)
        monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", get_metadata)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        distributed.initialize(None, None, None)
        return joined == [()]

    return joins


def workers(count: int) -> dict[str, str]:
    """What the metadata server of a Cloud TPU VM says of a slice."""
    endpoints = ",".join(f"u{n}:8470:10.0.0.{n}" for n in range(count))
    return {
        "agent-worker-number": "0",
        "worker-network-endpoints": endpoints,
        "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'",
    }


@pytest.mark.parametrize(
    "kind",
    [
        {"tpu_vm": True, "metadata": workers(4)},
        {"tpu_vm": True, "metadata": {}, "TPU_WORKER_HOSTNAMES": TWO, "TPU_WORKER_ID": "0"},
        SLURM | {"SLURM_STEP_NUM_TASKS": "2"},
        OPEN_MPI,
        {"JAX_COORDINATOR_ADDRESS": "host0:1234"},
    ],
    ids=["Cloud TPU", "GKE", "SLURM", "Open MPI", "JAX"],
)
def test_processes_of_a_cluster_join(machine, kind):
    assert machine(**kind)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"tpu_vm": True, "metadata": workers(1)},
        {"tpu_vm": True, "metadata": {}, "TPU_WORKER_HOSTNAMES": "host0", "TPU_WORKER_ID": "0"},
        SLURM | {"SLURM_NTASKS": "1"},
        SLURM | {"SLURM_STEP_NUM_TASKS": "1"},  # a step of one task in a job of more
        OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"},
    ],
    ids=["laptop", "one TPU VM", "one host of GKE", "one task", "one task of a job", "mpirun -n 1"],
)
def test_a_process_that_is_alone_waits_for_nobody(machine, kind):
    assert not machine(**kind)
