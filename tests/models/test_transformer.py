"""The shared encoder: its size, its three ways to run, and its masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.transformer import EncoderLayer, SharedEncoder
from tests import tiny

HIDDEN, HEADS, FFN, LAYERS = 16, 4, 32, 2


def make_encoder(*, scan: bool = False, remat: bool = False, dropout=0.0) -> SharedEncoder:
    def build():
        layer = EncoderLayer(
            HIDDEN, HEADS, FFN, dropout=dropout, dtype=jnp.float32, rngs=nnx.Rngs(0)
        )
        return SharedEncoder(layer, LAYERS, scan_layers=scan, remat=remat)

    return tiny.make_module(build)


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 7, HIDDEN)).astype(np.float32)


MASK = (np.arange(7) < np.array([[7], [4], [1]])).astype(np.float32)


@pytest.mark.parametrize("layers", [1, 12])
def test_albert_base_has_one_layer_of_parameters_however_deep(layers):
    def build():
        layer = EncoderLayer(768, 12, 3072, dropout=0.1, dtype=jnp.float32, rngs=nnx.Rngs(0))
        return SharedEncoder(layer, layers, scan_layers=False, remat=False)

    assert tiny.count(nnx.eval_shape(build)) == 7_087_872


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"model\.heads=5 does not divide model\.hidden=16"):
        EncoderLayer(16, 5, 32, dropout=0.0, dtype=jnp.float32, rngs=nnx.Rngs(0))


def _run(states, **how) -> tuple:
    """Outputs and gradients, in evaluation and with dropout."""
    definition, state = nnx.split(make_encoder(dropout=0.2, **how))

    def loss(state):
        encoder = nnx.merge(definition, state)
        outputs = jnp.stack([encoder(states, MASK, key) for key in (None, jax.random.key(7))])
        return (outputs * np.cos(np.arange(outputs.size).reshape(outputs.shape))).sum(), outputs

    gradients, outputs = jax.jit(jax.grad(loss, has_aux=True))(state)
    return outputs, tiny.named(nnx.to_pure_dict(gradients))


@pytest.fixture(scope="module")
def of_the_loop(states) -> tuple:
    return _run(states)


@pytest.mark.parametrize(("scan", "remat"), [(True, False), (False, True), (True, True)])
def test_scan_and_remat_change_neither_outputs_nor_gradients(states, of_the_loop, scan, remat):
    expected, wanted = of_the_loop
    outputs, gradients = _run(states, scan=scan, remat=remat)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert gradients.keys() == wanted.keys()
    largest = max(np.abs(value).max() for value in wanted.values())
    for name, value in wanted.items():
        np.testing.assert_allclose(gradients[name], value, atol=1e-6 * largest, err_msg=name)


def test_dropout_needs_a_key_and_differs_by_layer_and_key(states):
    encoder = make_encoder(dropout=0.5)
    evaluation = encoder(states, MASK, None)
    np.testing.assert_array_equal(evaluation, encoder(states, MASK, None))
    first, second = (encoder(states, MASK, jax.random.key(n)) for n in range(2))
    assert np.abs(first - second).max() > 0.01
    assert np.abs(first - evaluation).max() > 0.01


def test_masked_positions_change_no_real_output(states):
    encoder = make_encoder()
    expected = encoder(states, MASK, None)
    rng = np.random.default_rng(1)
    garbage = np.where(MASK[..., None] > 0, states, 1000 * rng.normal(size=states.shape))
    longer = np.concatenate([garbage, 1000 * rng.normal(size=(3, 4, HIDDEN))], axis=1)
    mask = np.concatenate([MASK, np.zeros((3, 4))], axis=1)
    outputs = encoder(longer.astype(np.float32), mask, None)[:, :7]
    np.testing.assert_allclose(outputs[MASK > 0], expected[MASK > 0], atol=1e-6)
    assert np.isfinite(outputs).all()


def test_order_of_the_rows_and_positions_carries_over(states):
    encoder = make_encoder()
    order = np.random.default_rng(2).permutation(7)
    outputs = encoder(states[:, order], MASK[:, order], None)
    expected = encoder(states, MASK, None)[:, order]
    real = MASK[:, order] > 0
    np.testing.assert_allclose(outputs[real], expected[real], atol=1e-5)
