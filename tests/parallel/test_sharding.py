"""One device and eight: the same losses, and checkpoints that move between them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from atbert_jax.parallel import hlo, sharding
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.state import abstract, place
from tests import tiny

pytestmark = pytest.mark.slow

DEVICES = 8
# Its batch normalisation says as much about sharding as that of a deep net, and compiles sooner.
# So wide that its parameters outweigh the activations of a batch.
STEM_ALONE = {
    "model.depths": (),
    "model.width": 8,
    "model.hidden": 64,
    "model.heads": 4,
    "model.ffn": 256,
    "objectives.correct_pair": 1.0,
    "objectives.alignment": 1.0,
}
KINDS = ("kernel", "bias")
FROZEN = ("^model/(?!encoder)",)
# By name: devices along `data` and `model`, whether parameters are split over `data` too, and what
# is frozen.
MESHES = {
    "8x1": (8, 1, False),
    "8x1 fsdp": (8, 1, True),
    "2x4": (2, 4, False),
    "4x2 fsdp frozen": (4, 2, True, FROZEN),
}


# Meshes with a checkpoint: one takes seconds, since Orbax cuts arrays into what each device writes.
CHECKPOINTED = ("8x1 fsdp", "2x4")
ARRAYS = "arrays.npz"


def configure(data: int, model: int, fsdp: bool, frozen: tuple[str, ...] = ()) -> dict:
    """Fields of the config."""
    return {
        **STEM_ALONE,
        "model.dropout": 0.1,
        "optimizer.name": "sgd",
        "optimizer.learning_rate": 0.1,
        "optimizer.warmup_steps": 0,
        "sharding.data": data,
        "sharding.model": model,
        "sharding.fsdp": fsdp,
        "optimizer.frozen": frozen,
    }


def traffic(setup: tiny.Setup, batch: dict[str, jax.Array]) -> dict[str, float]:
    """Bytes that a device sends in a step, by kind of collective; and those of all `parameters`."""
    program = setup.step.func.lower(*setup.step.args, setup.state(), batch).compile().as_text()
    sent = {kind: sent for kind, (_, sent) in hlo.Program(program).traffic(DEVICES).items()}
    return sent | {"parameters": sum(x.nbytes for x in jax.tree.leaves(setup.params))}


def train(
    workdir: Path, data: int = 1, model: int = 1, fsdp: bool = False, frozen: tuple[str, ...] = ()
) -> dict:
    """Three steps with pairs over the whole batch; keeps the arrays, and maybe a checkpoint."""
    setup = tiny.Setup(**configure(data, model, fsdp, frozen))
    state, rows = setup.state(), []
    for seed in range(3):
        state, metrics = setup.step(state, setup.put(tiny.make_batch(16, seed)))
        rows.append({name: float(value) for name, value in metrics.items()})
    workdir.mkdir()
    arrays = {"params": state.params, "statistics": state.statistics}
    np.savez(workdir / ARRAYS, **tiny.named(arrays))
    if workdir.name in CHECKPOINTED:
        checkpoints = Checkpoints(workdir)
        checkpoints.save(state, 0.0)
        checkpoints.close()
    parts = {
        name: (x.size, x.addressable_shards[0].data.size)
        for name, x in tiny.named(state.params).items()
    }
    programs = setup.step.func._cache_size()
    sent = traffic(setup, setup.put(tiny.make_batch(16))) if fsdp and not frozen else {}
    return {"rows": rows, "parts": parts, "programs": programs, "traffic": sent}


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory) -> tuple[Path, dict]:
    """Runs on eight emulated devices, which take a process of their own."""
    workdir = tmp_path_factory.mktemp("eight")
    code = f"""
import json, jax
from pathlib import Path
from tests.parallel.test_sharding import MESHES, train
runs = {{name: train(Path({str(workdir)!r}) / name, *mesh) for name, mesh in MESHES.items()}}
print(json.dumps([jax.device_count(), runs]))
"""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(DEVICES), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    devices, runs = json.loads(done.stdout.splitlines()[-1])
    assert devices == DEVICES
    return workdir, runs


@pytest.fixture(scope="module")
def on_one(tmp_path_factory) -> tuple[Path, dict]:
    workdir = tmp_path_factory.mktemp("one")
    return workdir, {
        kind: train(workdir / kind, frozen=frozen)
        for kind, frozen in (("all", ()), ("frozen", FROZEN))
    }


@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_computes_what_one_device_does(on_eight, on_one, mesh):
    """Losses and gradient norms; parameters after three steps of SGD show the gradients."""
    run, kind = on_eight[1][mesh], "frozen" if MESHES[mesh][3:] else "all"
    for many, one in zip(run["rows"], on_one[1][kind]["rows"], strict=True):
        assert many.keys() == one.keys()
        for name, value in one.items():
            assert many[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
    many = np.load(on_eight[0] / mesh / ARRAYS)
    one = np.load(on_one[0] / kind / ARRAYS)
    assert set(many) == set(one)
    for name, value in one.items():
        np.testing.assert_allclose(many[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert run["programs"] == on_one[1][kind]["programs"] == 1


def test_fsdp_keeps_an_eighth_of_the_parameters_on_a_device(on_eight):
    parts = on_eight[1]["8x1 fsdp"]["parts"]
    split = {name: (size, here) for name, (size, here) in parts.items() if here < size}
    assert all(size == DEVICES * here for size, here in split.values())
    # What has no axis of a multiple of 8 is nothing beside the rest.
    assert sum(size for size, _ in split.values()) > 0.98 * sum(x[0] for x in parts.values())
    whole = on_eight[1]["8x1"]["parts"]
    assert all(size == here for size, here in whole.values())


def test_fsdp_gathers_each_parameter_once_and_no_activations(on_eight):
    traffic = on_eight[1]["8x1 fsdp"]["traffic"]
    # Beside them the texts of the negatives.
    assert 0.98 < traffic["all-gather"] / (traffic["parameters"] * 7 / 8) < 1.3


def test_the_gradients_of_a_layer_that_is_used_thrice_travel_once(on_eight):
    traffic = on_eight[1]["8x1 fsdp"]["traffic"]
    # An all-reduce sends everything twice; beside the gradients there are statistics of the batch.
    assert 1 < traffic["all-reduce"] / (2 * traffic["parameters"] * 7 / 8) < 1.3


def test_heads_and_inner_widths_are_split_over_model(on_eight):
    layer = "model/encoders/shared/layers/0/"
    parts = on_eight[1]["2x4"]["parts"]
    split = {name for name, (size, here) in parts.items() if size == 4 * here}
    assert {name for name, (size, here) in parts.items() if size != here} == split
    assert split == {
        f"{layer}{name}"
        for name in (
            *(f"{part}/{kind}" for part in ("query", "key", "value", "ffn") for kind in KINDS),
            "attention_output/kernel",
            "ffn_output/kernel",
        )
    }


@pytest.mark.parametrize("mesh", CHECKPOINTED)
def test_a_checkpoint_of_eight_devices_is_read_on_one(on_eight, on_one, mesh):
    eight = on_eight[0] / mesh
    setup = tiny.Setup(**STEM_ALONE)
    expected = np.load(on_one[0] / "all" / ARRAYS)
    whole = sharding.replicated(setup.mesh)
    targets = [sharding.placed(tree, whole) for tree in (setup.params, setup.statistics)]
    for arrays in (
        Checkpoints(eight).restore_arrays(3)["params"],
        Checkpoints(eight).restore_model(3, *targets)[0],
    ):
        arrays = tiny.named(arrays)
        for name, array in arrays.items():
            assert len(array.devices()) == jax.local_device_count()
            np.testing.assert_allclose(array, expected[f"params/{name}"], atol=1e-5, err_msg=name)


def test_batches_are_split():
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


def test_a_mesh_that_is_not_the_devices_is_refused():
    config = tiny.make_config(**{"sharding.data": 3, "sharding.model": -1}).sharding
    with pytest.raises(ValueError, match=r"data=3 x model=-1 is not the number of devices, 1;"):
        sharding.make_mesh(config)


def test_heads_and_axes_that_cannot_be_split_are_refused_with_their_numbers():
    mesh = jax.sharding.AbstractMesh((1, 8), ("data", "model"))
    config, contract = tiny.make_config(**{"model.heads": 4}), tiny.make_contract()
    config.objectives.correct_pair = 1.0
    with pytest.raises(ValueError, match=r"model\.heads=4 cannot be split over .*model=8"):
        place(abstract(config, contract), config, mesh, fsdp=False)
    config.model.heads, config.model.ffn = 8, 36
    message = r"ffn/bias \(36,\): its axis 'mlp' of 36 cannot be split over .*model=8"
    with pytest.raises(ValueError, match=message):
        place(abstract(config, contract), config, mesh, fsdp=False)
