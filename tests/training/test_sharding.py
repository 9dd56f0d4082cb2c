"""One device and eight: the same losses, and checkpoints that move between them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from atbert_jax.training import sharding
from atbert_jax.training.checkpoint import Checkpoints
from tests import tiny

DEVICES = 8
# Its batch normalisation says as much about sharding as that of a deep net, and compiles sooner.
STEM_ALONE = {"model.depths": (), "objectives.correct_pair": 1.0}


def train(workdir: Path) -> list[dict[str, float]]:
    """The metrics of three steps with pairs over the whole batch; saves the last state."""
    setup = tiny.Setup(
        **{
            **STEM_ALONE,
            "model.dropout": 0.1,
            "optimizer.name": "sgd",
            "optimizer.learning_rate": 0.1,
            "optimizer.warmup_steps": 0,
        }
    )
    state, rows = setup.state(), []
    for seed in range(3):
        state, metrics = setup.step(state, setup.put(tiny.make_batch(16, seed)))
        rows.append({name: float(value) for name, value in metrics.items()})
    checkpoints = Checkpoints(workdir)
    checkpoints.save(state, 0.0)
    checkpoints.close()
    return rows


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory) -> tuple[Path, list[dict[str, float]]]:
    """A run on eight emulated devices, which take a process of their own."""
    workdir = tmp_path_factory.mktemp("eight")
    code = f"""
import json, jax
from pathlib import Path
from tests.training.test_sharding import train
rows = train(Path({str(workdir)!r}))
print(json.dumps([jax.device_count(), rows]))
"""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(DEVICES), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    devices, rows = json.loads(done.stdout.splitlines()[-1])
    assert devices == DEVICES
    return workdir, rows


@pytest.fixture(scope="module")
def on_one(tmp_path_factory) -> tuple[Path, list[dict[str, float]]]:
    workdir = tmp_path_factory.mktemp("one")
    return workdir, train(workdir)


def test_eight_devices_compute_what_one_does(on_eight, on_one):
    for many, one in zip(on_eight[1], on_one[1], strict=True):
        assert many.keys() == one.keys()
        for name, value in one.items():
            assert many[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_a_checkpoint_of_eight_devices_is_read_on_one(on_eight, on_one):
    (one, _), (eight, _) = on_one, on_eight
    setup = tiny.Setup(**STEM_ALONE)
    expected = Checkpoints(one).restore_arrays(3)
    whole = sharding.replicated(setup.mesh)
    targets = [sharding.placed(tree, whole) for tree in (setup.params, setup.statistics)]
    for arrays in (
        Checkpoints(eight).restore_arrays(3)["params"],
        Checkpoints(eight).restore_model(3, *targets)[0],
    ):
        arrays = tiny.named(arrays)
        for name, value in tiny.named(expected["params"]).items():
            assert len(arrays[name].devices()) == jax.local_device_count()
            np.testing.assert_allclose(arrays[name], value, atol=1e-5, err_msg=name)


def test_batches_are_split_and_parameters_are_not():
    mesh = sharding.make_mesh()
    assert mesh.axis_names == ("data", "model")
    assert mesh.shape["data"] == jax.local_device_count()
    batch = sharding.put(tiny.make_batch(8), mesh)
    assert batch["log_mel"].sharding.spec == jax.P("data")
    assert sharding.replicated(mesh).spec == jax.P()


def test_a_batch_that_cannot_be_split_is_refused():
    mesh = jax.sharding.AbstractMesh((4, 1), ("data", "model"))
    sharding.require_divisible(24, mesh, "config.train.batch_size", 3)
    with pytest.raises(ValueError, match=r"config\.train\.batch_size=20 .* use a multiple of 12"):
        sharding.require_divisible(20, mesh, "config.train.batch_size", 3)
