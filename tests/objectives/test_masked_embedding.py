"""Masked Embedding Prediction: its loss in closed form, its masks, and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives import negatives
from atbert_jax.objectives.masked_embedding import MaskedEmbedding, choose
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import define, split
from tests import tiny

WIDTH, ROWS = 7, 8


class Trunk:
    """Embeddings from the batch; a stream's states are its embeddings, after a start for audio."""

    def embed_audio(self, batch, key):
        return Encoded(batch["segments"], batch["segment_mask"])

    def embed_text(self, batch, key):
        return Encoded(batch["words"], batch["token_mask"])

    def contextualize_audio(self, embedded, key):
        hidden = jnp.concatenate([100 + embedded.hidden[:, :1], embedded.hidden], axis=1)
        return Encoded(hidden, jnp.pad(embedded.mask, [(0, 0), (1, 0)], constant_values=1))

    def contextualize_text(self, embedded, key):
        return embedded

    def fuse_streams(self, audio, text, key):
        return audio, text


TRUNK = Trunk()


def build(**changes) -> MaskedEmbedding:
    """`changes` are fields of `config.masked_embedding`."""
    config = tiny.make_config(**{f"masked_embedding.{name}": x for name, x in changes.items()})
    widths = tiny.Widths(WIDTH, {"audio": WIDTH, "text": WIDTH})
    return MaskedEmbedding(config.masked_embedding, tiny.make_contract(), widths, rngs=Keys(0))


def make(**changes) -> MaskedEmbedding:
    """One of random arrays."""
    return tiny.compiled(tiny.make_module(lambda: build(**changes)))


def make_batch(rows: int = ROWS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    batch = tiny.make_batch(rows)
    batch["segments"] = rng.normal(size=(rows, tiny.SEGMENTS, WIDTH)).astype(np.float32)
    batch["words"] = rng.normal(size=(rows, tiny.TOKENS, WIDTH)).astype(np.float32)
    batch["token_ids"][:, 0] = 2
    batch["valid"][2] = 0
    return batch


@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_a_share_of_the_valid_positions_is_chosen_and_one_at_least(rate):
    maskable = np.arange(20) < np.array([[20], [11], [1], [0]])
    draw = jax.random.uniform(jax.random.key(0), (4, 20))
    positions, weights = tiny.one_program(choose, 1)(maskable, rate, draw)
    assert weights.sum(axis=1).tolist() == [
        max(count and 1, round(rate * count + 1e-9)) for count in (20, 11, 1, 0)
    ]
    for row in range(4):
        chosen = positions[row][weights[row] > 0]
        assert maskable[row, chosen].all()
        assert len(set(chosen.tolist())) == len(chosen)


def test_scores_that_know_nothing_cost_ln_k_plus_1():
    objective = make(streams=("audio",), negatives="current_minibatch", count=5)
    objective.streams["audio"].bilinear.kernel[...] = 0.0  # before the first call
    batch = objective.corrupt(make_batch(), jax.random.key(0))
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    assert weight == ROWS - 1  # one segment of each clip but the invalid one
    assert float(total / weight) == pytest.approx(np.log(6), rel=1e-6)
    assert metrics["audio_accuracy"][0] == 0  # a tie is no hit


def test_fresh_heads_know_nothing():
    objective = tiny.compiled(nnx.jit(lambda: build(negatives="current_minibatch", count=4))())
    batch = objective.corrupt(make_batch(), jax.random.key(0))
    (total, weight), _ = objective.loss(TRUNK, batch, None)
    assert float(total / weight) == pytest.approx(np.log(5), rel=1e-6)


@pytest.mark.parametrize("stream", ["audio", "text"])
def test_loss_equals_numpy_with_all_negatives(stream):
    """With more negatives asked for than there are, all are used, and the loss is a closed form."""
    objective = make(streams=(stream,), negatives="current_minibatch", count=1000)
    batch = objective.corrupt(make_batch(), jax.random.key(4))
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    of_stream = tiny.one_program(lambda batch: objective._of_stream(stream, TRUNK, batch, None))
    losses, hits, weights = of_stream(batch)
    assert weights.sum() == weight
    compatibility = objective.streams[stream]
    name, mask = {"audio": ("segments", "segment_mask"), "text": ("words", "token_mask")}[stream]
    x, there = batch[name], batch[mask] * batch["valid"][:, None] > 0
    ids = np.arange(there.size).reshape(there.shape)
    if stream == "text":
        ids = batch["token_ids"]
        there &= ids >= 5
    # Masked positions look the same to this trunk: their state is the mask's.
    scores = tiny.one_program(lambda x: compatibility(compatibility.mask[...][None], x))
    query = scores(x[there])[0]
    possible = []
    for masked in np.flatnonzero(there.reshape(-1)):
        own = ids.reshape(-1)[masked]
        others = query[ids[there] != own]
        score = query[np.flatnonzero(there.reshape(-1)) == masked][0]
        possible.append(np.log(np.exp(score) + np.exp(others).sum()) - score)
    for value in losses[weights > 0]:
        assert np.abs(np.array(possible) - value).min() < 1e-4
    assert float(total) == pytest.approx(losses[weights > 0].sum(), rel=1e-6)
    assert metrics[f"{stream}_accuracy"][0] == hits[weights > 0].sum()


def test_evaluation_asks_the_same_questions():
    objective = make()
    batch = objective.corrupt(make_batch(), jax.random.key(0))
    first, second = (objective.loss(TRUNK, batch, None)[0] for _ in range(2))
    assert first == second
    other = objective.corrupt(make_batch(), jax.random.key(1))
    assert objective.loss(TRUNK, other, None)[0] != first


def test_detached_targets_leave_the_embeddings_alone():
    def gradient(**changes):
        objective = make(streams=("audio",), **changes)
        batch = objective.corrupt(make_batch(), jax.random.key(0))

        def loss(segments):
            return objective.loss(TRUNK, batch | {"segments": segments}, None)[0][0]

        return np.abs(tiny.one_program(jax.grad(loss))(batch["segments"])).max()

    # This trunk's masked states do not depend on the other positions.
    assert gradient(detach_targets=True) == 0
    assert gradient() > 1e-3


def learning_config(fusion: str, name: str):
    return tiny.make_config(
        **{
            "model.fusion": fusion,
            "objectives.masked_embedding": 1.0,
            "masked_embedding.negatives": name,
            "masked_embedding.count": 4,
        }
    )


@functools.cache
def fresh(fusion: str) -> tuple[dict, dict]:
    """A new learner's parameters and statistics, which are the same with every sampler."""
    config, contract = learning_config(fusion, "current_sequence"), tiny.make_contract()
    _, params, statistics = split(nnx.jit(lambda: Learner(config, contract, rngs=Keys(0)))())
    return params, statistics


@pytest.mark.parametrize(
    ("name", "fusion"),
    [(name, "mid") for name in negatives.SAMPLERS] + [("cans_similar", "early")],
)
def test_it_learns_with_every_sampler_and_fusion(name, fusion):
    definition, _, _ = define(learning_config(fusion, name), tiny.make_contract())
    params, statistics = fresh(fusion)
    batch = tiny.make_batch(ROWS)
    batch["segment_mask"][:] = 1
    batch = {name: jnp.asarray(x) for name, x in batch.items()}
    optimizer = optax.adam(0.01)

    @jax.jit
    def step(params, state):
        def loss(params):
            learner = nnx.merge(definition, params, statistics)
            prepared = learner.prepare(batch, jax.random.key(0))
            (total, weight), _ = (
                learner.losses(prepared, jax.random.key(1))[0]["masked_embedding"],
                None,
            )
            return total / weight

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    state, values = optimizer.init(params), []
    for _ in range(30):
        params, state, value = step(params, state)
        values.append(float(value))
    assert np.isfinite(values).all()
    assert values[-1] < 0.7 * values[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"negatives": "hard"}, r"negatives='hard' is none of current_sequence"),
        ({"streams": ("video",)}, "streams='video' is none of audio, text"),
    ],
)
def test_a_wrong_setting_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_batch_without_anything_to_mask_weighs_nothing():
    objective = make()
    batch = make_batch() | {"valid": np.zeros(ROWS, np.float32)}
    (total, weight), _ = objective.loss(TRUNK, objective.corrupt(batch, jax.random.key(0)), None)
    assert (float(total), float(weight)) == (0.0, 0.0)
