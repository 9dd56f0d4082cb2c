"""Masked language modelling: what is masked, how, and its loss in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.masked_language import MaskedLanguage
from tests import tiny

HIDDEN, WIDTH, VOCABULARY = 6, 5, 50
MASK = 4


class Trunk:
    """The state of a word is a row of a table."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.table = jnp.asarray(rng.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32))
        self.word_embeddings = nnx.Embed(VOCABULARY, WIDTH, rngs=Keys(0))

    def encode_text(self, batch, key):
        return Encoded(self.table[batch["token_ids"]], batch["token_mask"])

    def encode_audio(self, batch, key):
        return Encoded(batch["clip"], None)

    def fuse_streams(self, audio, text, key):
        if audio is not None:
            text = Encoded(text.hidden + audio.hidden, text.mask)
        return audio, text


TRUNK = Trunk()


def make(rate: float, *, with_audio: bool = False, **contract: object) -> MaskedLanguage:
    """`contract` are fields of it."""
    config = tiny.make_config(**{"masked_language.rate": rate}).masked_language
    config.with_audio = with_audio
    contract = tiny.make_contract(vocabulary=VOCABULARY, **contract)
    widths = tiny.Widths(HIDDEN, {"text": WIDTH})
    return tiny.compiled(
        tiny.make_module(lambda: MaskedLanguage(config, contract, widths, rngs=Keys(0)))
    )


def make_batch(rows: int, length: int) -> dict[str, np.ndarray]:
    """[CLS], words, [SEP], of which the last row is padding."""
    rng = np.random.default_rng(1)
    ids = rng.integers(5, VOCABULARY, (rows, length))
    ids[:, 0], ids[:, -1] = 2, 3
    valid = np.arange(rows) < rows - 1
    ones = np.ones((rows, length), np.float32)
    return {"token_ids": ids, "token_mask": ones, "valid": valid.astype(np.float32)}


def test_words_are_masked_replaced_or_kept_in_the_published_shares():
    batch = make_batch(400, 102)
    masked = make(0.15).corrupt(batch, jax.random.key(0))
    ids, new = np.asarray(batch["token_ids"]), np.asarray(masked["masked_ids"])
    weights = np.asarray(masked["masked_weights"])
    assert weights[:-1].sum(axis=1).tolist() == [15] * 399  # of a hundred words
    assert weights[-1].sum() == 0
    chosen = np.zeros_like(ids, bool)
    for row, positions in enumerate(np.asarray(masked["masked_positions"])):
        chosen[row, positions[weights[row] > 0]] = True
    assert (ids[chosen] >= 5).all()
    np.testing.assert_array_equal(new[~chosen], ids[~chosen])
    share = {
        "masked": (new[chosen] == MASK).mean(),
        "kept": (new[chosen] == ids[chosen]).mean(),
    }
    # One in 45 of the random words is the word itself.
    assert share["masked"] == pytest.approx(0.8, abs=0.02)
    assert share["kept"] == pytest.approx(0.1 + 0.1 / 45, abs=0.02)
    assert (new[chosen][new[chosen] != MASK] >= 5).all()


def test_loss_equals_numpy():
    objective, trunk, batch = make(0.3), TRUNK, make_batch(4, 12)
    batch = objective.corrupt(batch, jax.random.key(2))
    (total, weight), metrics = objective.loss(trunk, batch, None)
    (kernel, bias), (scale, shift) = (
        (np.asarray(first[...]), np.asarray(second[...]))
        for first, second in (
            (objective.dense.kernel, objective.dense.bias),
            (objective.norm.scale, objective.norm.bias),
        )
    )
    states, table = np.asarray(trunk.table), np.asarray(trunk.word_embeddings.embedding[...])
    expected = count = hits = 0.0
    for row in range(4):
        for position, real in zip(
            batch["masked_positions"][row], batch["masked_weights"][row], strict=True
        ):
            if not real:
                continue
            x = states[batch["masked_ids"][row, position]].astype(np.float64)
            x = np.asarray(nnx.gelu(x @ kernel + bias), np.float64)
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-12) * scale + shift
            logits = table @ x + np.asarray(objective.output_bias[...])
            word = int(batch["token_ids"][row, position])
            expected += np.log(np.exp(logits).sum()) - logits[word]
            hits += logits.argmax() == word
            count += 1
    assert count == weight == 9  # 3 of 10 words in each of 3 rows
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    assert [float(x) for x in metrics["accuracy"]] == [hits, count]


def test_special_tokens_are_those_of_the_vocabulary():
    """A BERT's stand among places that are free; none is masked, and none is drawn."""
    special = (0, 1, 2, 3, 20, 21, 22, 23)
    objective = make(0.9, special_tokens=special, mask_token=23)
    batch = make_batch(400, 102)
    batch["token_ids"][:, 5:8] = 22, 1, 4
    masked = np.asarray(objective.corrupt(batch, jax.random.key(0))["masked_ids"])[:-1]
    old = np.asarray(batch["token_ids"])[:-1]
    changed = masked != old
    assert not changed[np.isin(old, special)].any()
    assert changed[:, 7].mean() > 0.7
    drawn = masked[changed & (masked != 23)]
    assert len(drawn) > 2000
    assert set(drawn) == set(range(VOCABULARY)) - set(special)


def test_the_clip_is_in_view_where_it_shall_be():
    batch = make_batch(3, 8) | {"clip": np.zeros((3, 1, HIDDEN), np.float32)}
    losses = {}
    for with_audio in (False, True):
        objective = make(0.3, with_audio=with_audio)
        batch = objective.corrupt(batch, jax.random.key(2))
        heard = batch | {"clip": batch["clip"] + 1}
        losses[with_audio] = [float(objective.loss(TRUNK, x, None)[0][0]) for x in (batch, heard)]
    assert losses[False][0] == losses[False][1] == losses[True][0]
    assert abs(losses[True][1] - losses[True][0]) > 0.01


def test_a_vocabulary_without_words_is_refused():
    with pytest.raises(ValueError, match="masked_language needs words, but the vocabulary has"):
        make(0.15, special_tokens=tuple(range(VOCABULARY)))


def test_a_batch_without_words_weighs_nothing():
    objective, batch = make(0.15), make_batch(3, 8)
    batch["token_mask"] = np.zeros_like(batch["token_mask"])
    batch = objective.corrupt(batch, jax.random.key(0))
    (total, weight), _ = objective.loss(TRUNK, batch, None)
    assert (float(total), float(weight)) == (0.0, 0.0)
    assert objective.summarize(objective.predict(TRUNK, batch), "mean") == {"accuracy": 0.0}
