"""One update and one evaluation: gradients by hand, micro-batches, one compilation, donation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from atbert_jax.training.state import split
from atbert_jax.training.step import make_evaluation_step, mean, total_loss
from tests import tiny

PLAIN_DESCENT = {
    "optimizer.name": "sgd",
    "optimizer.b1": 0.0,
    "optimizer.clip_norm": 0.0,
    "optimizer.learning_rate": 1.0,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 0,
    "train.steps": 100,
}
CLASSIFY = {"objectives.classification": 2.0, "classification.views": ("audio",)}


@pytest.fixture(scope="module")
def plain() -> tiny.Setup:
    return tiny.Setup(**PLAIN_DESCENT, **CLASSIFY)


@pytest.fixture(scope="module")
def in_halves() -> tiny.Setup:
    return tiny.Setup(**PLAIN_DESCENT, **CLASSIFY, **{"train.accumulate": 2})


def gradients(setup: tiny.Setup, batch: dict) -> dict[str, np.ndarray]:
    """What plain descent at rate 1 goes down by."""
    new, _ = setup.step(setup.state(), setup.put(batch))
    return tiny.named(
        jax.tree.map(lambda old, new: np.asarray(old - new), setup.params, new.params)
    )


def assert_close(found: dict, expected: dict, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    largest = max(np.abs(value).max() for value in expected.values())
    assert largest > 0.01
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=tolerance * largest, err_msg=name)


def make_batch() -> dict[str, np.ndarray]:
    """Twins: rows 2k and 2k + 1 hold the same clip, but other labels, and not all have one."""
    batch = {name: np.repeat(x, 2, axis=0) for name, x in tiny.make_batch(4).items()}
    batch["labels"] = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 1, 0, 2]]
    batch["label_mask"] = np.array([1, 1, 1, 0, 1, 0, 1, 0], np.float32)
    return batch


def test_a_step_goes_down_the_gradient_of_the_loss(plain):
    batch = make_batch()

    def loss(params):
        learner = nnx.merge(plain.definition, params, plain.statistics)
        hidden = learner.model.encode_audio(batch, jax.random.key(0)).hidden[:, 0]
        head = learner.objectives["classification"]
        logits = head.output(jnp.tanh(head.dense(hidden)))
        losses = optax.softmax_cross_entropy(logits, batch["labels"])
        value = 2.0 * (losses * batch["label_mask"]).sum() / batch["label_mask"].sum()
        return value, split(learner)[2]

    (value, statistics), expected = jax.jit(jax.value_and_grad(loss, has_aux=True))(plain.params)
    new, metrics = plain.step(plain.state(), plain.put(batch))
    assert_close(gradients(plain, batch), tiny.named(expected), 1e-5)
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)
    assert float(metrics["classification/loss"]) == pytest.approx(float(value) / 2, rel=1e-5)
    length = float(optax.tree.norm(expected))
    assert float(metrics["gradient_norm"]) == pytest.approx(length, rel=1e-4)
    assert 0 <= float(metrics["classification/accuracy"]) <= 1
    assert new.step == 1
    for name, wanted in tiny.named(statistics).items():
        np.testing.assert_allclose(tiny.named(new.statistics)[name], wanted, rtol=1e-5, atol=1e-6)


def test_micro_batches_give_the_gradient_of_the_whole_batch(plain, in_halves):
    """Exactly so where batch normalisation sees the same statistics.

    The micro-batches are the even and the odd rows, 4 and 1 of them with a label. They hold the
    same clips, so their statistics are those of the whole batch; in general they are their own.
    """
    batch = make_batch()
    assert batch["label_mask"][::2].sum() == 4
    assert batch["label_mask"][1::2].sum() == 1
    expected = gradients(plain, batch)
    assert_close(gradients(in_halves, batch), expected, 1e-5)
    # A mean of the means of the parts would weigh the single label of the second part four times.
    parts = [
        gradients(plain, {name: np.repeat(x[part::2], 2, axis=0) for name, x in batch.items()})
        for part in (0, 1)
    ]
    head = "objectives/classification/output/bias"
    assert np.abs((parts[0][head] + parts[1][head]) / 2 - expected[head]).max() > 0.01


def test_micro_batches_report_the_whole_batch_and_update_statistics_in_turn(plain, in_halves):
    batch = make_batch()
    whole, wanted = plain.step(plain.state(), plain.put(batch))
    parts, metrics = in_halves.step(in_halves.state(), in_halves.put(batch))
    for name, value in wanted.items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-4), name
    fresh, once = tiny.named(plain.statistics), tiny.named(whole.statistics)
    for name, value in tiny.named(parts.statistics).items():
        # 0.9 of the old and 0.1 of the batch's, twice over.
        expected = 0.9 * once[name] + (once[name] - 0.9 * fresh[name])
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_batch_of_bad_records_changes_no_parameter(plain):
    batch = tiny.make_batch(8)
    for name in ("valid", "label_mask", "segment_mask", "log_mel"):
        batch[name] = np.zeros_like(batch[name])
    new, metrics = plain.step(plain.state(), plain.put(batch))
    for old, value in zip(jax.tree.leaves(plain.params), jax.tree.leaves(new.params), strict=True):
        np.testing.assert_array_equal(value, old)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((new.statistics, metrics)))


def test_a_loss_that_is_not_finite_changes_nothing_and_is_counted(plain):
    good, bad = make_batch(), make_batch()
    bad["log_mel"][0, 0] = np.inf
    state, _ = plain.step(plain.state(), plain.put(good))
    before = jax.tree.map(np.asarray, state)
    for number in (1, 2):
        state, metrics = plain.step(state, plain.put(bad))
        assert not np.isfinite(metrics["loss"] + metrics["gradient_norm"])
        assert metrics["nonfinite_in_a_row"] == metrics["nonfinite_steps"] == number
    for name in ("trained", "statistics", "optimizer"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(before, name))
    assert state.step == 3
    state, metrics = plain.step(state, plain.put(good))
    assert (metrics["nonfinite_in_a_row"], metrics["nonfinite_steps"]) == (0, 2)
    assert np.isfinite(metrics["loss"])


@pytest.fixture(scope="module")
def learning() -> tiny.Setup:
    """What a real run has: both objectives, and mixup."""
    return tiny.Setup(
        **{
            "objectives.correct_pair": 1.0,
            "objectives.classification": 1.0,
            "classification.views": ("audio",),
            "classification.mixup": 0.5,
            "optimizer.learning_rate": 3e-3,  # at 1e-2 the loss jumps, and its end is luck
            "optimizer.schedule": "constant",
            "optimizer.warmup_steps": 5,
        }
    )


def test_training_lowers_the_loss_in_one_program_that_consumes_its_state(learning):
    batch, state = learning.put(tiny.make_batch(8)), learning.state()
    first, rows = state, []
    for _ in range(300):
        state, metrics = learning.step(state, batch)
        rows.append(metrics)
    losses = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in ("correct_pair/loss", "classification/loss"):
        assert losses[name][-30:].mean() < 0.75 * losses[name][:10].mean(), name
    both = losses["correct_pair/loss"] + losses["classification/loss"]
    np.testing.assert_allclose(losses["loss"], both, rtol=1e-5)
    assert state.step == 300
    assert learning.step.func._cache_size() == 1
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))


def test_seeds_draw_something_else_in_the_same_program(learning):
    batch, compiled = learning.put(tiny.make_batch(8)), learning.step.func
    losses = [compiled(seed, learning.state(), batch)[1]["correct_pair/loss"] for seed in (0, 1)]
    assert losses[0] != losses[1]
    assert compiled._cache_size() == 1


def test_a_step_is_a_function_of_state_and_batch(learning):
    batch = learning.put(tiny.make_batch(8))
    (one, _), (same, _) = (learning.step(learning.state(), batch) for _ in range(2))
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(left, right)
    # The step number drives mixup and pairs.
    later = learning.state()
    _, metrics = learning.step(later.replace(step=jnp.full_like(later.step, 1)), batch)
    _, wanted = learning.step(learning.state(), batch)
    assert float(metrics["loss"]) != float(wanted["loss"])


def test_evaluation_asks_the_same_each_time_and_mixes_nothing(learning):
    evaluate = make_evaluation_step(
        learning.definition, learning.mesh, learning.layout.state.params
    )
    state, batch = learning.state(), tiny.make_batch(8)
    answers = [evaluate(state.params, state.statistics, learning.put(batch)) for _ in range(2)]
    for left, right in zip(*map(jax.tree.leaves, answers), strict=True):
        np.testing.assert_array_equal(left, right)
    (losses, metrics), outputs, kept = answers[0]
    np.testing.assert_array_equal(kept["record"], batch["record"])
    assert losses.keys() == outputs.keys() == {"correct_pair", "classification"}
    assert metrics.keys() == {"correct_pair/accuracy", "classification/accuracy"}
    # Scores of a clip do not depend on its company, as mixup or batch statistics would make them.
    company = {
        name: np.concatenate([x[:2], y[2:]])
        for (name, x), y in zip(batch.items(), tiny.make_batch(8, seed=5).values(), strict=True)
    }
    _, others, _ = evaluate(state.params, state.statistics, learning.put(company))
    np.testing.assert_allclose(
        others["classification"]["audio"][:2], outputs["classification"]["audio"][:2], rtol=1e-5
    )
    np.testing.assert_allclose(
        others["correct_pair"]["score"][:2, 0], outputs["correct_pair"]["score"][:2, 0], rtol=1e-4
    )
    total, weight = losses["classification"]
    picked = (outputs["classification"]["audio"] * batch["labels"]).sum(axis=1)
    assert float(total) == pytest.approx(float(-np.log(picked).sum()), rel=1e-4)
    assert weight == 8
    assert evaluate._cache_size() == 1


def test_sums_become_means_and_one_loss():
    losses = {"a": (jnp.array(6.0), jnp.array(3.0)), "b": (jnp.array(5.0), jnp.array(0.0))}
    assert {name: float(value) for name, value in mean(losses).items() if name == "a"} == {"a": 2}
    empty = {"b": (jnp.array(0.0), jnp.array(0.0))}
    assert float(mean(empty)["b"]) == 0
    weights = {"a": 0.5, "b": 1.0}
    assert float(total_loss(losses | empty, weights)) == 1.0
    normalizers = {"a": jnp.array(12.0), "b": jnp.array(1.0)}
    assert float(total_loss(losses | empty, weights, normalizers)) == 0.25
