"""Schedules in closed form, what decays, clipping, and the names that there are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atbert_jax.training import optimizer
from atbert_jax.training.state import define
from tests import tiny

STEPS, WARMUP, RATE = 100, 20, 0.5
AFTER = {
    "cosine": lambda part: 0.5 * (1 + np.cos(np.pi * part)),
    "linear": lambda part: 1 - part,
    "constant": lambda part: np.ones_like(part),
}


def make_config(**changes):
    config = tiny.make_config().optimizer
    config.update({"learning_rate": RATE, "warmup_steps": WARMUP} | changes)
    return config


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize("name", AFTER)
def test_schedules_equal_their_closed_forms(name, warmup):
    rate = optimizer.schedule(make_config(schedule=name, warmup_steps=warmup), STEPS)
    steps = np.arange(STEPS + 1)
    part = np.clip((steps - warmup) / (STEPS - warmup), 0, 1)
    expected = RATE * np.where(steps < warmup, steps / max(warmup, 1), AFTER[name](part))
    np.testing.assert_allclose([rate(step) for step in steps], expected, rtol=1e-5, atol=1e-7)


PHASES = {"name": "adam_sgd", "schedule": "steps", "switch_at": (0.4, 0.7)}


@pytest.mark.parametrize("warmup", [0, 3])
def test_stairs_take_the_next_rate_at_each_switch(warmup):
    config = make_config(**PHASES, switch_rates=(0.2, 0.03), warmup_steps=warmup)
    assert optimizer.switches(config, 10) == [4, 7]
    rate = optimizer.schedule(config, 10)
    expected = np.array([RATE] * 4 + [0.2] * 3 + [0.03] * 4)
    expected[:warmup] *= np.arange(warmup) / max(warmup, 1)
    np.testing.assert_allclose([rate(step) for step in range(11)], expected, rtol=1e-6)


def test_adam_then_sgd_equal_their_definitions():
    """As PyTorch has them: decay within the gradient, of all parameters; momentum goes on."""
    decay, b1, b2, rates = 0.1, 0.9, 0.99, [RATE] * 4 + [0.2] * 3 + [0.03] * 3
    config = make_config(
        **PHASES, switch_rates=(0.2, 0.03), warmup_steps=0, clip_norm=0.0, b1=b1, b2=b2
    )
    config.weight_decay = decay
    transformation = optimizer.build(config, 10)
    rng = np.random.default_rng(0)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(3, 2))),
        "bias": jnp.asarray(rng.normal(size=2)),
    }
    expected = {name: np.array(value, np.float64) for name, value in params.items()}
    mean, square, momentum = ({n: 0 * x for n, x in expected.items()} for _ in range(3))
    update, state = jax.jit(transformation.update), transformation.init(params)
    for step, rate in enumerate(rates):
        gradients = {name: rng.normal(size=x.shape) for name, x in expected.items()}
        updates, state = update(jax.tree.map(jnp.asarray, gradients), state, params)
        params = optax.apply_updates(params, updates)
        for name, gradient in gradients.items():
            total = gradient + decay * expected[name]
            if step < 4:
                mean[name] = b1 * mean[name] + (1 - b1) * total
                square[name] = b2 * square[name] + (1 - b2) * total**2
                size = np.sqrt(square[name] / (1 - b2 ** (step + 1))) + 1e-8
                move = mean[name] / (1 - b1 ** (step + 1)) / size
            else:
                momentum[name] = b1 * momentum[name] + total
                move = total + b1 * momentum[name]
            expected[name] = expected[name] - rate * move
            np.testing.assert_allclose(params[name], expected[name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"switch_at": (0.7, 0.4)}, r"switch_at=\(0.7, 0.4\) must be ascending .* are \[70, 40\]"),
        ({"switch_at": (0.4, 1.0)}, r"must be ascending shares between 0 and 1"),
        ({"switch_at": (0.001,)}, r"each of another step; they are \[0\]"),
        ({"switch_rates": (0.1,)}, r"switch_rates=\(0.1,\) needs one rate for each of switch_at"),
        ({"warmup_steps": 50}, r"and these behind the warm-up of 50"),
        ({"switch_at": (), "schedule": "constant"}, r"'adam_sgd' needs config.optimizer.switch_at"),
    ],
)
def test_phases_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        optimizer.build(make_config(**PHASES | {"switch_rates": (0.2, 0.03)} | changes), STEPS)


def test_a_reload_needs_a_checkpoint_before_it():
    config = tiny.make_config(**{"optimizer.switch_at": (0.5,), "train.steps": 10})
    assert optimizer.reloads(config) == []
    config.optimizer.reload_best = True
    with pytest.raises(ValueError, match=r"before each of the steps \[5\] .*evaluate_every=500"):
        optimizer.reloads(config)
    config.train.evaluate_every = 5
    assert optimizer.reloads(config) == [5]


@pytest.mark.parametrize("given", [100, 1.5])
def test_a_warm_up_as_long_as_the_run_or_of_no_whole_steps_is_refused(given):
    message = rf"warmup_steps={given:g} must be a whole number of steps, less than config.train.st"
    with pytest.raises(ValueError, match=message):
        optimizer.schedule(make_config(warmup_steps=given), STEPS)


@pytest.mark.parametrize(
    ("given", "steps", "expected"),
    [(0.05, 10_000, 500), (1 / 15, 3000, 200), (0.05, 1, 0), (0.9, 2, 1), (1, 50, 1), (0, 50, 0)],
)
def test_a_warm_up_is_a_share_of_the_run_or_so_many_steps(given, steps, expected):
    config = make_config(warmup_steps=given, schedule="constant")
    assert optimizer.warmup(config, steps) == expected
    rate = optimizer.schedule(config, steps)
    assert float(rate(expected)) == pytest.approx(RATE)
    if expected:
        assert float(rate(expected - 1)) == pytest.approx(RATE * (expected - 1) / expected)


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("schedule", "cosine, linear, constant, steps"),
        ("name", "adamw, amsgrad, adam, sgd, adam_sgd"),
    ],
)
def test_unknown_names_are_refused_with_the_choices(field, choices):
    with pytest.raises(ValueError, match=f"config.optimizer.{field}='fast' is none of {choices}"):
        optimizer.build(make_config(**{field: "fast"}), STEPS)


def test_kernels_and_word_embeddings_decay_and_nothing_else():
    config = tiny.make_config(**{"objectives.correct_pair": 1.0, "objectives.classification": 1.0})
    _, params, _ = define(config, tiny.make_contract())
    flags = tiny.named(optimizer.decayed(params))
    for name, flag in flags.items():
        assert flag == name.endswith(("/kernel", "/embedding")), name
    kept = {name for name, flag in flags.items() if not flag}
    tables = ("audio_start", "audio_positions", "text_positions", "joint_positions")
    assert {f"model/{name}" for name in (*tables, "modality_embeddings")} <= kept
    assert "model/encoders/shared/layers/0/output_norm/scale" in kept
    assert "objectives/correct_pair/heads/0/dense/bias" in kept
    assert flags["model/word_embeddings/embedding"]


@pytest.mark.parametrize("name", ["adamw", "amsgrad"])
def test_only_what_decays_moves_where_there_is_no_gradient(name):
    params = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "table": jnp.ones((3, 2))}
    transformation = optimizer.build(
        make_config(name=name, schedule="constant", warmup_steps=0, weight_decay=0.1), STEPS
    )
    zeros = {
        "dense": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)},
        "table": jnp.zeros((3, 2)),
    }
    updates, _ = transformation.update(zeros, transformation.init(params), params)
    np.testing.assert_allclose(updates["dense"]["kernel"], -RATE * 0.1, rtol=1e-6)
    np.testing.assert_array_equal(updates["dense"]["bias"], 0)
    np.testing.assert_array_equal(updates["table"], 0)


@pytest.mark.parametrize(("clip", "length"), [(2.0, 2.0), (100.0, 10.0), (0.0, 10.0)])
def test_the_whole_gradient_is_clipped(clip, length):
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradients = {"a": jnp.array([6.0]), "b": jnp.array([-8.0])}
    transformation = optimizer.build(
        make_config(name="sgd", b1=0.0, schedule="constant", warmup_steps=0, clip_norm=clip), STEPS
    )
    updates, _ = transformation.update(gradients, transformation.init(params), params)
    np.testing.assert_allclose(optax.tree.norm(updates), RATE * length, rtol=1e-6)
    np.testing.assert_allclose(updates["a"][0], -RATE * length * 0.6, rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "amsgrad", "adam", "sgd", "adam_sgd"])
def test_the_trunk_has_a_rate_of_its_own(name):
    """All of what it moves by, decay and momentum included, and at every step."""
    rng = np.random.default_rng(0)
    params, *gradients = (
        {name: {"kernel": jnp.asarray(rng.normal(size=(3, 2)))} for name in ("model", "objectives")}
        for _ in range(4)
    )

    def updates(rate: float) -> list[dict]:
        config = make_config(name=name, weight_decay=0.1, clip_norm=1.0, trunk_rate=rate)
        config.switch_at = (0.01,)
        transformation = optimizer.build(config, STEPS)
        state, found = transformation.init(params), []
        for gradient in gradients:
            update, state = transformation.update(gradient, state, params)
            found.append(update)
        return found

    for own, same in zip(updates(0.25), updates(1.0), strict=True):
        np.testing.assert_allclose(own["model"]["kernel"], 0.25 * same["model"]["kernel"])
        np.testing.assert_array_equal(own["objectives"]["kernel"], same["objectives"]["kernel"])
    assert np.abs(same["model"]["kernel"]).min() > 0


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_optimizer_finds_the_bottom_of_a_bowl(name):
    params = {"kernel": jnp.array([3.0, -2.0])}
    config = make_config(name=name, learning_rate=0.05, weight_decay=0.0, b1=0.9)
    transformation = optimizer.build(config, 200)
    state = transformation.init(params)
    for _ in range(200):
        updates, state = transformation.update(params, state, params)
        params = optax.apply_updates(params, updates)
    assert np.abs(params["kernel"]).max() < 0.2
