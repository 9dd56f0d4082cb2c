"""The encoder: its sizes, its three ways to run, and its masks."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.keys import Keys
from atbert_jax.models.transformer import ACTIVATIONS, Encoders
from tests import tiny

HIDDEN, HEADS, FFN, LAYERS = 16, 4, 32, 2
ROLES = ("audio", "text", "joint")


def make_config(**changes) -> ml_collections.ConfigDict:
    """`config.model` of a tiny encoder without dropout."""
    sizes = {"hidden": HIDDEN, "heads": HEADS, "ffn": FFN, "layers": LAYERS, "rank": 4}
    config = tiny.make_config().model
    config.update(sizes | changes)
    return config


def make_encoders(**changes) -> Encoders:
    config = make_config(**changes)
    return tiny.make_module(lambda: Encoders(config, ROLES, dtype=jnp.float32, rngs=Keys(0)))


def make_encoder(**changes) -> Callable:
    """Of the role 'joint'."""
    return tiny.one_program(functools.partial(make_encoders(**changes), "joint"))


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 7, HIDDEN)).astype(np.float32)


MASK = (np.arange(7) < np.array([[7], [4], [1]])).astype(np.float32)


@pytest.mark.parametrize(
    ("sharing", "count"),
    [
        ("none", 127_581_696),
        ("layers", 21_263_616),
        ("all", 7_087_872),
        ("factorized", 3_843_840),
    ],
)
def test_six_layers_of_768_have_the_published_numbers_of_parameters(sharing, count):
    sizes = {"hidden": 768, "heads": 12, "ffn": 3072, "layers": 6, "rank": 128}
    config = make_config(sharing=sharing, **sizes)
    encoders = nnx.eval_shape(lambda: Encoders(config, ROLES, dtype=jnp.float32, rngs=Keys(0)))
    assert tiny.count(encoders) == count


@pytest.mark.parametrize("sharing", ["layers", "all", "factorized"])
def test_depth_costs_no_parameters(sharing):
    shallow, deep = (make_encoders(sharing=sharing, layers=layers) for layers in (1, 12))
    assert tiny.count(shallow) == tiny.count(deep)


@pytest.mark.parametrize(
    ("sharing", "same"), [("none", False), ("layers", False), ("all", True), ("factorized", False)]
)
def test_roles_differ_unless_all_is_shared(states, sharing, same):
    encoders = make_encoders(sharing=sharing)

    @tiny.one_program
    def of_all_roles(states):
        return [encoders(role, states, MASK, None) for role in ROLES]

    outputs = of_all_roles(states)
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert (np.abs(outputs[i] - outputs[j]).max() < 1e-6) == same


@pytest.mark.parametrize("sharing", ["none", "layers", "factorized"])
def test_a_role_trains_what_is_its_own_and_what_is_common(states, sharing):
    definition, state = nnx.split(make_encoders(sharing=sharing))
    loss = lambda state: nnx.merge(definition, state)("text", states, MASK, None)[0, 0, 0]  # noqa: E731
    arrays = tiny.named(nnx.to_pure_dict(jax.jit(jax.grad(loss))(state)))
    if sharing == "factorized":
        for name, gradient in arrays.items():
            if name.endswith(("down", "skew")):
                reached = [bool(np.abs(part).max() > 1e-9) for part in gradient]
                assert reached == [False, True, False], name
    else:
        reached = {name.split("/")[0] for name, x in arrays.items() if np.abs(x).max() > 1e-9}
        assert reached == {"text"}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"heads": 5}, r"model\.heads=5 does not divide model\.hidden=16"),
        ({"sharing": "some"}, r"config\.model\.sharing='some' is none of none, layers"),
        ({"activation": "relu"}, r"config\.model\.activation='relu' is none of gelu_tanh, gelu"),
        ({"sharing": "none", "scan_layers": True}, "set scan_layers=False"),
        ({"sharing": "factorized", "rotation": "euler"}, "is none of exp, cayley"),
    ],
)
def test_a_wrong_setting_is_refused(field, message):
    with pytest.raises(ValueError, match=message):
        make_encoders(**field)


def test_activations_equal_pytorchs_definitions():
    x = np.linspace(-4, 4, 41, dtype=np.float32)
    erf = np.vectorize(math.erf)
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(ACTIVATIONS["gelu"](x), 0.5 * x * (1 + erf(x / 2**0.5)), atol=2e-6)
    np.testing.assert_allclose(ACTIVATIONS["gelu_tanh"](x), tanh, atol=2e-6)


def _run(states, **how) -> tuple:
    """Outputs and gradients, in evaluation and with dropout."""
    definition, state = nnx.split(make_encoders(dropout=0.2, **how))

    def loss(state):
        encoder = functools.partial(nnx.merge(definition, state), "joint")
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
    outputs, gradients = _run(states, scan_layers=scan, remat=remat)
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
