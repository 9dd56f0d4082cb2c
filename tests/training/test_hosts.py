"""Several processes whose devices stand in a mesh in any order read and compute what one does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.parallel import sharding
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.writers import read_metrics
from tests import tiny
from tests.commands import ROOT
from tests.training.test_interruption import TINY, assert_close_runs, manifest  # noqa: F401

STEPS = 4
# Process of each device, (data, model), as `sharding.make_mesh` orders the topologies of TPUs by
# their torus; recorded with libtpu 0.0.42.
TOPOLOGIES = np.load(ROOT / "tests" / "golden" / "processes_of_topologies.npz")
# A torus: the devices of all processes in another order.
PERMUTED = """
import json, runpy, sys
import numpy as np
order = json.loads(sys.argv.pop(1))
from jax.experimental import mesh_utils
def ordered(sizes, devices, **_):
    return np.array(devices)[order].reshape(sizes)
mesh_utils.create_device_mesh = ordered
runpy.run_module("atbert_jax.train", run_name="__main__")
"""


@pytest.mark.parametrize("name", TOPOLOGIES.files)
def test_the_hosts_of_every_topology_read_each_row_once(name):
    processes = TOPOLOGIES[name]
    size = 3 * len(processes)
    parts = sharding.rows_of_processes(processes, size)
    assert set(parts) == set(range(processes.max() + 1))
    sharding.require_each_once([tuple(parts[number]) for number in sorted(parts)], size)
    # What a host reads is what its devices hold.
    for place, row in enumerate(processes):
        for process in row:
            assert set(range(3 * place, 3 * place + 3)) <= set(parts[process])


def test_a_torus_does_not_give_hosts_rows_that_follow_each_other():
    """Else the test above would pass for a pipeline that thinks they do."""
    parts = sharding.rows_of_processes(TOPOLOGIES["v5p:4x4x4 model=1"], 64)
    assert any((np.diff(rows) > 1).any() for rows in parts.values())


def test_uneven_orders_are_read_once_too():
    parts = sharding.rows_of_processes(np.array([[0], [1], [0], [0], [1]]), 10)
    np.testing.assert_array_equal(parts[0], [0, 1, 4, 5, 6, 7])
    np.testing.assert_array_equal(parts[1], [2, 3, 8, 9])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([(0, 1), (0, 1)], r"\[2, 3\] are read by no process and \[\] by several"),
        ([(0, 1, 2), (2, 3)], r"\[\] are read by no process and \[2\] by several"),
    ],
)
def test_rows_that_are_not_read_once_are_named(parts, message):
    with pytest.raises(ValueError, match=message):
        sharding.require_each_once(parts, 4)


def test_what_this_process_reads_is_all(tmp_path):
    mesh = sharding.make_mesh()
    sharding.require_all_rows(mesh, 8)
    np.testing.assert_array_equal(sharding.rows(mesh, 8), np.arange(8))
    batch = tiny.make_batch(8)
    for name, array in sharding.put(batch, mesh).items():
        np.testing.assert_array_equal(array, batch[name], err_msg=name)


def train(manifest: Path, workdir: Path, order: list[int], processes: int, *more: str) -> None:  # noqa: F811
    """A run of some processes whose devices stand in the mesh in an order."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    fields = TINY | {"train.steps": STEPS, "train.evaluate_every": 2, "train.log_every": 1}
    environment = {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(len(order) // processes),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        "PYTHONPATH": str(ROOT),
    }
    command = (
        "--config=configs/atbert_pretrain.py:tiny",
        f"--workdir={workdir}",
        f"--config.data.manifest={manifest}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
        *more,
    )

    def start(number: int) -> subprocess.Popen:
        place = ("--coordinator", f"localhost:{port}", "--processes", str(processes))
        place = (*place, "--process", str(number)) if processes > 1 else ()
        return subprocess.Popen(
            [sys.executable, "-c", PERMUTED, str(order), *command, *place],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    for process in [start(number) for number in range(processes)]:
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 0, said[-3000:]


@pytest.fixture(scope="module")
def alone(manifest, tmp_path_factory) -> Path:  # noqa: F811
    workdir = tmp_path_factory.mktemp("alone")
    train(manifest, workdir, [0], 1)
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "processes", "model"),
    [([0, 2, 3, 1], 2, 1), ([2, 0, 3, 1], 4, 2)],
    ids=["two hosts", "four hosts, model=2"],
)
def test_hosts_in_any_order_train_validate_and_save_what_one_does(
    manifest,  # noqa: F811
    alone,
    tmp_path,
    order,
    processes,
    model,
):
    train(manifest, tmp_path, order, processes, f"--config.sharding.model={model}")
    assert len(read_metrics(tmp_path)) > STEPS
    assert_close_runs(alone, tmp_path)
    ours, theirs = (
        tiny.named(Checkpoints(run).restore_arrays(STEPS)["params"]) for run in (alone, tmp_path)
    )
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
