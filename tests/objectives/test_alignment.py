import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.alignment import Alignment
from atbert_jax.training.learner import Learner
from tests.tiny import (
    Widths,
    compiled,
    make_batch,
    make_config,
    make_contract,
    make_module,
    one_program,
)

ROWS, WIDTH = 5, 7


class GivenTrunk:
    """Says what it was told to."""

    def __init__(self, audio, text):
        self.audio, self.text = audio, text

    def encode_audio(self, batch, key):
        return Encoded(self.audio[:, None], jnp.ones((ROWS, 1)))

    def encode_text(self, batch, key):
        return Encoded(self.text[:, None], jnp.ones((ROWS, 1)))

    def fuse(self, audio, text, key):
        return audio or text


@pytest.fixture
def objective():
    config = ml_collections.ConfigDict({"temperature": 0.5})
    return compiled(Alignment(config, make_contract(), Widths(WIDTH), rngs=Keys(0)))


@pytest.fixture
def states():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, ROWS, WIDTH)).astype(np.float32)


def expected(audio, text, rows, temperature=0.5):
    """The symmetric InfoNCE over some rows, written out."""
    a, t = (x[rows] / np.linalg.norm(x[rows], axis=1, keepdims=True) for x in (audio, text))
    scores = (a @ t.T).astype(np.float64) / temperature
    each = []
    for axis in (0, 1):
        total = np.log(np.exp(scores).sum(axis=axis))
        each.append(total - np.diagonal(scores))
    return 0.5 * (each[0] + each[1]).sum()


def test_loss_is_the_symmetric_infonce(objective, states):
    (total, weight), _ = objective.loss(
        GivenTrunk(*map(jnp.asarray, states)), make_batch(ROWS), None
    )
    assert weight == ROWS
    np.testing.assert_allclose(total, expected(*states, range(ROWS)), rtol=1e-5)


def test_rows_that_are_not_whole_take_no_part(objective, states):
    batch = make_batch(ROWS)
    batch["valid"][1] = 0
    batch["token_mask"][3] = 0
    (total, weight), _ = objective.loss(GivenTrunk(*map(jnp.asarray, states)), batch, None)
    assert weight == 3
    np.testing.assert_allclose(total, expected(*states, [0, 2, 4]), rtol=1e-5)


def test_a_text_that_reads_the_same_is_no_negative(objective, states):
    batch = make_batch(ROWS)
    batch["token_ids"][:] = batch["token_ids"][0]
    (total, _), metrics = objective.loss(GivenTrunk(*map(jnp.asarray, states)), batch, None)
    np.testing.assert_allclose(total, 0, atol=1e-6)
    assert metrics["accuracy"][0] == ROWS


def test_equal_states_of_pairs_are_found(objective, states):
    trunk = GivenTrunk(jnp.asarray(states[0]), jnp.asarray(3 * states[0]))
    _, metrics = objective.loss(trunk, make_batch(ROWS), None)
    assert metrics["accuracy"] == (ROWS, ROWS)
    np.testing.assert_allclose(objective.predict(trunk, make_batch(ROWS))["cosine"], 1, rtol=1e-5)


def test_two_objectives_move_running_statistics_once():
    """As far as one objective alone moves them."""
    moved = []
    for names in (("alignment",), ("alignment", "correct_pair")):
        config = make_config()
        for name in names:
            config.objectives[name] = 1.0
        contract = make_contract()
        learner = make_module(lambda c=config, k=contract: Learner(c, k, rngs=Keys(0)))
        nnx.update(learner.model, nnx.state(make_module(lambda k=contract: _trunk(k))))
        definition, state = nnx.split(learner)

        def move(state, batch, definition=definition):
            learner = nnx.merge(definition, state)
            learner.losses(learner.prepare(batch, jax.random.key(0)), jax.random.key(1))
            return jax.tree.leaves(nnx.state(learner.model, nnx.BatchStat))

        moved.append(one_program(move)(state, make_batch(4)))
    for alone, together in zip(*moved, strict=True):
        np.testing.assert_array_equal(alone, together)


def _trunk(contract):
    from atbert_jax import models

    return models.build(make_config(), contract, rngs=Keys(0))
