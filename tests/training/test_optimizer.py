"""Schedules in closed form, what decays, clipping, and the names that there are."""

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


def test_a_warm_up_as_long_as_the_run_is_refused():
    with pytest.raises(ValueError, match=r"warmup_steps=100 must be less than config.train.steps"):
        optimizer.schedule(make_config(warmup_steps=100), STEPS)


@pytest.mark.parametrize(
    ("field", "choices"),
    [("schedule", "cosine, linear, constant"), ("name", "adamw, amsgrad, adam, sgd")],
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


@pytest.mark.parametrize("name", ["adamw", "amsgrad", "adam", "sgd"])
def test_the_trunk_has_a_rate_of_its_own(name):
    """All of what it moves by, decay and momentum included, and at every step."""
    rng = np.random.default_rng(0)
    params, *gradients = (
        {name: {"kernel": jnp.asarray(rng.normal(size=(3, 2)))} for name in ("model", "objectives")}
        for _ in range(4)
    )

    def updates(rate: float) -> list[dict]:
        config = make_config(name=name, weight_decay=0.1, clip_norm=1.0, trunk_rate=rate)
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
