"""Checkpoints: exact round trips, what is kept, and what is refused with one clear line."""

import contextlib
import functools
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atbert_jax.parallel import sharding
from atbert_jax.training import checkpoint, optimizer
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints, DamagedError
from atbert_jax.training.state import TrainState, partition
from tests import tiny

OPTIMIZER = optimizer.build(tiny.make_config().optimizer, 1000)


FROZEN = {("model", "blocks", 0, "dense", "kernel"), ("model", "blocks", 1, "dense", "bias")}


def make_state(step=0, width=3, seed=0, layer="dense", frozen=()) -> TrainState:
    """A state of two blocks, as `nnx.List` numbers them, after one update."""
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    blocks = {n: {layer: {"kernel": array(4, width), "bias": array(width)}} for n in range(2)}
    params = {"model": {"blocks": blocks}}
    statistics = {"model": {"norm": {"mean": array(width), "var": array(width)}}}
    trained, kept = partition(params, frozen)
    _, optimizer_state = OPTIMIZER.update(trained, OPTIMIZER.init(trained), trained)
    counts = (jnp.asarray(count, jnp.int32) for count in (step, 1, 0))
    state = TrainState(*counts, trained, kept, statistics, optimizer_state)
    return jax.device_put(state, sharding.replicated(sharding.make_mesh()))


def assert_same(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def saved(tmp_path):
    """A run with one checkpoint, of step 7."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(make_state(7), 0.5)
    checkpoints.close()
    return tmp_path


def test_round_trip_is_exact(saved):
    state = make_state(7)
    checkpoints = Checkpoints(saved)
    restored = checkpoints.restore_state(7, make_state(seed=1))
    assert_same(restored, state)
    assert restored.params["model"]["blocks"][0]["dense"]["kernel"].sharding.is_equivalent_to(
        sharding.replicated(sharding.make_mesh()), 2
    )
    params, statistics = checkpoints.restore_model(7, make_state().params, make_state().statistics)
    assert_same((params, statistics), (state.params, state.statistics))
    arrays = checkpoints.restore_arrays(7)
    for kind in ("params", "statistics"):
        expected = tiny.named(getattr(state, kind))
        found = tiny.named(arrays[kind])
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_what_is_frozen_is_saved_under_the_names_that_it_had_when_it_was_trained(tmp_path):
    state, whole = make_state(7, frozen=FROZEN), make_state(7)
    assert len(jax.tree.leaves(state.frozen)) == len(FROZEN)
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(state, 0.5)
    groups = {path.name for path in (tmp_path / checkpoint.FOLDER / "7").iterdir() if path.is_dir()}
    assert groups >= {"params", "statistics", "optimizer", "counts"}
    assert not groups & {"trained", "frozen"}
    checkpoints = Checkpoints(tmp_path)
    assert_same(checkpoints.restore_model(7, whole.params, whole.statistics)[0], whole.params)
    assert_same(checkpoints.restore_state(7, make_state(seed=1, frozen=FROZEN)), state)
    # Weights go back to where all is trained, too.
    step, best = checkpoints.restore_best(make_state(seed=1))
    assert step == 7
    assert_same(best.params, whole.params)
    assert best.frozen == {}


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path):
    @functools.partial(jax.jit, donate_argnums=0)
    def step(state):
        return jax.tree.map(lambda x: x + 1, state)

    state, checkpoints = make_state(0), Checkpoints(tmp_path, keep_latest=5)
    for _ in range(4):
        state = step(state)
        checkpoints.save(state, 0.0)
    step(state)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    for number in range(1, 5):
        expected = make_state(0)
        for _ in range(number):
            expected = step(expected)
        assert_same(checkpoints.restore_state(number, make_state()), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_saving_again_and_again_takes_no_more_descriptors_and_threads(tmp_path):
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    with contextlib.closing(Checkpoints(tmp_path / "first")) as first:
        first.save(make_state(step=1), 0.0)
    before = held()
    for number in range(3):
        with contextlib.closing(Checkpoints(tmp_path / str(number))) as checkpoints:
            for step in (1, 2):
                checkpoints.save(make_state(step), 0.0)
    assert all(now <= then for now, then in zip(held(), before, strict=True))


def test_the_latest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_latest=2)
    assert checkpoints.latest is None
    assert checkpoints.best is None
    # Below 0, as R2 can be.
    scores = [float("-inf"), -0.7, -0.1, -0.5, -0.8, -0.9]
    for step, score in enumerate(scores, start=1):
        checkpoints.save(make_state(step), score)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest == 6
    assert checkpoints.best == 3
    kept = {path.name for path in (tmp_path / checkpoint.FOLDER).iterdir() if path.is_dir()}
    assert kept == {"3", "5", "6"}


def test_of_equals_the_latest_is_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_latest=3)
    for step, score in enumerate([0.1, 0.9, 0.9], start=1):
        checkpoints.save(make_state(step), score)
    checkpoints.close()
    assert Checkpoints(tmp_path).best == 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"width": 5},
            r"params/model/blocks/0/dense/bias: \(3,\) float32 there, \(5,\) float32 here.*more",
        ),
        ({"layer": "linear"}, "params/model/blocks/0/linear/bias: missing there"),
    ],
)
def test_another_model_is_refused_by_name(saved, other, message):
    like = make_state(**other)
    checkpoints = Checkpoints(saved)
    for restore in (
        lambda: checkpoints.restore_state(7, like),
        lambda: checkpoints.restore_model(7, like.params, like.statistics),
    ):
        with pytest.raises(CheckpointError, match=message) as error:
            restore()
        assert str(saved) in str(error.value)
        assert "use the config that it was trained with" in str(error.value)
        assert "\n" not in str(error.value)


def test_another_optimizer_or_type_of_number_is_refused(saved):
    state = make_state()
    other = optimizer.build(tiny.make_config(**{"optimizer.name": "sgd"}).optimizer, 1000)
    with pytest.raises(
        CheckpointError, match=r"optimizer/1/0/mu/\S+: \(3,\) float32 there, not wanted"
    ):
        Checkpoints(saved).restore_state(7, state.replace(optimizer=other.init(state.params)))
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.statistics)
    with pytest.raises(CheckpointError, match=r"mean: \(3,\) float32 there, \(3,\) bfloat16 here"):
        Checkpoints(saved).restore_state(7, state.replace(statistics=low))


def test_a_step_that_is_not_there_is_refused_with_those_that_are(saved):
    with pytest.raises(CheckpointError, match=r"has no checkpoint 8; there are \[7\]"):
        Checkpoints(saved).restore_state(8, make_state())


def test_a_damaged_checkpoint_is_named(saved):
    for file in (saved / checkpoint.FOLDER / "7" / "params").rglob("*"):
        if file.is_file() and not file.name.startswith("_"):
            file.write_bytes(b"")
    with pytest.raises(DamagedError, match=f"{saved}: checkpoint 7 is damaged"):
        Checkpoints(saved).restore_state(7, make_state())


@pytest.mark.parametrize("damage", ["flip", "cut", "lost group", "lost metadata"])
def test_a_damaged_newest_checkpoint_is_put_aside_for_the_one_before(saved, damage, caplog):
    checkpoints = Checkpoints(saved, keep_latest=2)
    checkpoints.save(make_state(8, seed=1), 0.7)
    checkpoints.close()
    folder = saved / checkpoint.FOLDER / "8"
    files = [file for file in (folder / "params").rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    if damage == "flip":
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(bytes(content))
    elif damage == "cut":
        largest.write_bytes(largest.read_bytes()[:-100])
    elif damage == "lost group":
        shutil.rmtree(folder / "optimizer")
    else:
        (folder / "_CHECKPOINT_METADATA").unlink()
    checkpoints = Checkpoints(saved, keep_latest=2)
    state, pending = checkpoints.restore_latest(make_state())
    assert_same(state, make_state(7))
    assert pending == []
    assert "checkpoint 8 is damaged" in caplog.text
    assert (saved / "damaged" / "8").is_dir()
    # The step can be reached and saved again.
    checkpoints.save(make_state(8, seed=1), 0.7)
    checkpoints.close()
    assert_same(Checkpoints(saved).restore_latest(make_state())[0], make_state(8, seed=1))


def test_without_a_whole_checkpoint_there_is_none(tmp_path, saved):
    shutil.rmtree(saved / checkpoint.FOLDER / "7" / "params")
    assert Checkpoints(saved).restore_latest(make_state()) is None


def test_a_checkpoint_keeps_the_metrics_that_are_not_logged_yet(tmp_path):
    pending = [{"loss": 0.1 + 0.2}, {"loss": float("nan")}]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(make_state(3), None, pending)
    checkpoints.close()
    state, found = Checkpoints(tmp_path).restore_latest(make_state())
    assert_same(state, make_state(3))
    np.testing.assert_array_equal([row["loss"] for row in found], [row["loss"] for row in pending])


def test_a_full_disk_is_said_and_leaves_the_earlier_ones(saved):
    """A limit on the size of files stands for the disk."""
    code = f"""
import resource, signal
from pathlib import Path
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from tests.training.test_checkpoint import make_state
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints = Checkpoints(Path({str(saved)!r}), keep_latest=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    checkpoints.save(make_state(8), 0.7)
    checkpoints.close()
except CheckpointError as error:
    print("said:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"said: {saved / checkpoint.FOLDER}: a checkpoint could not be written" in done.stdout
    assert "earlier ones are intact" in done.stdout
    assert_same(Checkpoints(saved).restore_latest(make_state())[0], make_state(7))


def test_without_data_of_any_checkpoint_the_folder_is_damaged(saved):
    checkpoints = Checkpoints(saved, keep_latest=2)
    checkpoints.save(make_state(8, seed=1), 0.7)
    checkpoints.close()
    for file in saved.rglob("params/**/d/*"):
        file.unlink()
    checkpoints = Checkpoints(saved)
    with pytest.raises(CheckpointError, match=r"is damaged, in every checkpoint \(.*copy the fo"):
        checkpoints.best_whole(checkpoints.restore_arrays)
