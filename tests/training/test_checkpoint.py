"""Checkpoints: exact round trips, what is kept, and what is refused with one clear line."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atbert_jax.training import checkpoint, optimizer, sharding
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from atbert_jax.training.state import TrainState
from input_pipeline import text
from input_pipeline.contract import TOKENIZER
from tests import tiny

OPTIMIZER = optimizer.build(tiny.make_config().optimizer, 1000)


def make_state(step: int = 0, width: int = 3, seed: int = 0, layer: str = "dense") -> TrainState:
    """A state of two blocks, as `nnx.List` numbers them, after one update."""
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    blocks = {n: {layer: {"kernel": array(4, width), "bias": array(width)}} for n in range(2)}
    params = {"model": {"blocks": blocks}}
    statistics = {"model": {"norm": {"mean": array(width), "var": array(width)}}}
    _, optimizer_state = OPTIMIZER.update(params, OPTIMIZER.init(params), params)
    state = TrainState(jnp.asarray(step, jnp.int32), params, statistics, optimizer_state)
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


def test_the_latest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_latest=2)
    assert checkpoints.latest is None
    assert checkpoints.best is None
    scores = [float("-inf"), 0.3, 0.9, 0.5, 0.2, 0.1]
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
    folder = saved / checkpoint.FOLDER / "7"
    for file in (folder / "params").rglob("*"):
        if file.is_file() and not file.name.startswith("_"):
            file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{saved}: checkpoint 7 cannot be read.*{folder}"):
        Checkpoints(saved).restore_state(7, make_state())


def test_a_run_keeps_config_contract_and_tokenizer(tmp_path):
    words = ["slow piano", "fast drums", "a quiet song", "loud guitars and drums"]
    tokenizer = text.load_tokenizer(text.train_sentencepiece(words, tmp_path / "s.model", 60))
    config, contract = tiny.make_config(seed=3), tiny.make_contract("regression")
    run = tmp_path / "deep" / "run"
    checkpoint.save_run(run, config, contract, tokenizer)
    assert (run / TOKENIZER).is_dir()
    loaded, same, other = checkpoint.load_run(run)
    assert loaded.to_json_best_effort() == config.to_json_best_effort()
    assert same == contract
    assert other(words)["input_ids"] == tokenizer(words)["input_ids"]


def test_a_folder_that_is_no_run_says_so(tmp_path):
    for load in (checkpoint.load_config, checkpoint.load_run):
        with pytest.raises(CheckpointError, match=f"{tmp_path}: no config.json here.*--workdir"):
            load(tmp_path)
