"""Starting from another run: the trunk is taken, heads are not, and nothing misfits silently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atbert_jax.parallel import sharding
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from atbert_jax.training.state import TrainState
from atbert_jax.training.transfer import require_learned, start_from
from tests import tiny


def make_state(seed: int, objective: str, step: int = 0, **widths: int) -> TrainState:
    """A trunk of two blocks and a head; `widths` of its arrays can differ."""
    rng = np.random.default_rng(seed)

    def array(name: str) -> jax.Array:
        return jnp.asarray(rng.normal(size=(2, widths.get(name, 3))), jnp.float32)

    params = {
        "model": {"blocks": {0: {"kernel": array("first")}, 1: {"kernel": array("second")}}},
        "objectives": {objective: {"output": {"kernel": array("head")}}},
    }
    statistics = {"model": {"norm": {"mean": array("mean")}}}
    counts = (jnp.asarray(count, jnp.int32) for count in (step, 0, 0))
    state = TrainState(*counts, params, {}, statistics, {"count": array("count")})
    return jax.device_put(state, sharding.replicated(sharding.make_mesh()))


@pytest.fixture
def pretrained(tmp_path):
    """Three checkpoints, the second of which is best."""
    checkpoints = Checkpoints(tmp_path)
    for step, score in ((1, 0.1), (2, 0.9), (3, 0.5)):
        checkpoints.save(make_state(step, "correct_pair", step), score)
    checkpoints.close()
    return tmp_path


def test_the_trunk_of_the_best_checkpoint_is_taken_and_heads_start_anew(pretrained):
    new = make_state(9, "classification", 0)
    state, taken, lines = start_from(new, pretrained)
    best = make_state(2, "correct_pair")
    found, expected = tiny.named(state.params["model"]), tiny.named(best.params["model"])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(
        state.statistics["model"]["norm"]["mean"], best.statistics["model"]["norm"]["mean"]
    )
    head = "objectives/classification/output/kernel"
    np.testing.assert_array_equal(tiny.named(state.params)[head], tiny.named(new.params)[head])
    assert state.step == 0
    assert jax.tree.structure(state) == jax.tree.structure(new)
    assert taken == ["model/blocks/0/kernel", "model/blocks/1/kernel", "model/norm/mean"]
    assert lines == [
        f"from {pretrained}: 3 arrays taken over",
        f"  start anew: {head}",
        "  not used here: objectives/correct_pair/output/kernel",
    ]


def test_the_same_head_is_taken_too(pretrained):
    state, _, lines = start_from(make_state(9, "correct_pair"), pretrained)
    assert lines == [f"from {pretrained}: 4 arrays taken over"]
    for one, other in zip(
        jax.tree.leaves(state.params),
        jax.tree.leaves(make_state(2, "correct_pair").params),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_another_shape_is_refused_with_both_unless_allowed(pretrained):
    new = make_state(9, "correct_pair", second=5, head=4)
    message = (
        r"model/blocks/1/kernel \(2, 3\) -> \(2, 5\), "
        r"objectives/correct_pair/output/kernel \(2, 3\) -> \(2, 4\); .*init_allow_mismatch"
    )
    with pytest.raises(CheckpointError, match=message):
        start_from(new, pretrained)
    with pytest.raises(CheckpointError, match=r"fit: model/blocks/1/kernel \(2, 3\) -> \(2, 5\);"):
        start_from(new, pretrained, ["^objectives/"])
    state, _, lines = start_from(new, pretrained, ["^objectives/", "blocks/1"])
    names = "model/blocks/1/kernel, objectives/correct_pair/output/kernel"
    assert lines[1:] == [f"  of another shape, start anew: {names}"]
    blocks, old = state.params["model"]["blocks"], make_state(2, "correct_pair").params["model"]
    np.testing.assert_array_equal(blocks[0]["kernel"], old["blocks"][0]["kernel"])
    np.testing.assert_array_equal(blocks[1]["kernel"], new.params["model"]["blocks"][1]["kernel"])


def test_statistics_of_another_shape_are_refused(pretrained):
    with pytest.raises(CheckpointError, match=r"model/norm/mean \(2, 3\) -> \(2, 6\)"):
        start_from(make_state(9, "correct_pair", mean=6), pretrained)


def test_a_trunk_that_is_not_there_whole_is_refused_unless_allowed(pretrained):
    new = make_state(9, "correct_pair")
    new.trained["model"]["extra"] = {"kernel": jnp.ones(2)}
    with pytest.raises(CheckpointError, match=r"checkpoint 2 lacks model/extra/kernel"):
        start_from(new, pretrained)
    state, _, lines = start_from(new, pretrained, ["model/extra"])
    assert lines[1:] == ["  start anew: model/extra/kernel"]
    np.testing.assert_array_equal(state.params["model"]["extra"]["kernel"], [1, 1])


def test_what_comes_from_no_checkpoint_is_not_frozen(pretrained):
    new = make_state(9, "classification")
    _, taken, _ = start_from(new, pretrained)
    trunk = {"model": new.params["model"]}
    require_learned(trunk, taken)
    head = "objectives/classification/output/kernel"
    message = rf"would keep {head} random; set --config\.init_from"
    with pytest.raises(ValueError, match=message):
        require_learned(new.params, taken)
    require_learned({}, ())
    with pytest.raises(ValueError, match="would keep model/blocks/0/kernel, model/blocks/1/kernel"):
        require_learned(trunk, ())


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=f"{tmp_path}: holds no whole checkpoint yet; train there"
    ):
        start_from(make_state(0, "correct_pair"), tmp_path)


def test_a_damaged_best_checkpoint_is_passed_over_for_the_next_best(pretrained, caplog):
    files = [x for x in (pretrained / "checkpoints" / "2" / "params").rglob("*") if x.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    state, *_ = start_from(make_state(9, "correct_pair"), pretrained)
    third = make_state(3, "correct_pair")
    for name, value in tiny.named(third.params["model"]).items():
        np.testing.assert_array_equal(tiny.named(state.params["model"])[name], value)
    assert "checkpoint 2 is damaged" in caplog.text
