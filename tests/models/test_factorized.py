"""Factorized maps: the published counts, rotations that stay rotations, and the closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
from flax import nnx

from atbert_jax.models.factorized import ROTATIONS, FactorizedLinear, rotations
from atbert_jax.models.keys import Keys
from tests import tiny

GROUPS, RANK = 3, 8


def make(width_in=12, width_out=10, rank=RANK, rotation="exp") -> FactorizedLinear:
    return FactorizedLinear(
        width_in,
        width_out,
        groups=GROUPS,
        rank=rank,
        rotation=rotation,
        axis_in="embed",
        axis_out="heads",
        dtype=jnp.float32,
        rngs=Keys(0),
    )


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)


@pytest.mark.parametrize(
    ("width_in", "width_out", "count"),
    [(768, 768, 443_136), (768, 3072, 740_352), (3072, 768, 1_327_872)],
)
def test_counts_are_avberts(width_in, width_out, count):
    assert tiny.count(nnx.eval_shape(lambda: make(width_in, width_out, rank=128))) == count


@pytest.mark.parametrize("group", range(GROUPS))
def test_equals_the_definition(inputs, group):
    linear = nnx.jit(make)()
    skew = np.triu(np.asarray(linear.skew[group], np.float64), 1)
    code = inputs @ np.asarray(linear.down[group], np.float64)
    code /= np.linalg.norm(code, axis=-1, keepdims=True)
    code = code @ scipy.linalg.expm(skew - skew.T)
    expected = code @ np.asarray(linear.up.kernel[...]) + np.asarray(linear.up.bias[...])
    found = tiny.one_program(linear.bind(group))(inputs)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_scale_of_the_input_does_not_matter(inputs):
    apply = tiny.one_program(nnx.jit(make)().bind(0))
    np.testing.assert_allclose(apply(1000 * inputs), apply(inputs), atol=1e-5)
    assert np.isfinite(apply(np.zeros_like(inputs))).all()


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_rotations_stay_orthogonal_in_training(inputs, rotation):
    definition, params = nnx.split(nnx.jit(lambda: make(rotation=rotation))())
    targets = np.random.default_rng(1).normal(size=(GROUPS, 5, 10)).astype(np.float32)
    optimizer = optax.adam(0.1)

    def loss(params):
        linear = nnx.merge(definition, params)
        outputs = jnp.stack([linear.bind(group)(inputs) for group in range(GROUPS)])
        return ((outputs - targets) ** 2).mean()

    @jax.jit
    def step(params, state):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    @tiny.one_program
    def turns(params):
        linear = nnx.merge(definition, params)
        return [rotations([linear], group)[0] for group in range(GROUPS)]

    before, state, values = turns(params), optimizer.init(params), []
    for _ in range(50):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values[-1] < 0.5 * values[0]
    for first, last in zip(before, turns(params), strict=True):
        rotated = last.astype(np.float64)
        assert np.abs(rotated - first).max() > 0.1
        assert np.abs(rotated @ rotated.T - np.eye(RANK)).max() < 1e-5
        assert np.linalg.det(rotated) == pytest.approx(1.0, abs=1e-5)


def test_rotations_start_within_a_right_angle():
    # By the Cayley map, the 2x2 blocks -tan(d / 2) are rotations by d in [0, pi / 2].
    linear = nnx.jit(lambda: make(rotation="cayley"))()
    for group in range(GROUPS):
        angles = np.angle(np.linalg.eigvals(rotations([linear], group)[0]))
        assert (np.abs(angles) <= np.pi / 2 + 1e-5).all()
        assert np.abs(angles).max() > 0.1
