"""Correct Pair Prediction against numpy: derangements, positions, weights and the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.correct_pair import CorrectPair, derangement, take_valid
from tests import tiny
from tests.tiny import Widths

HIDDEN = 8
KEYS = jax.random.split(jax.random.key(0), 300)


class Trunk:
    """Hidden states that are in the batch already; fusing is putting side by side."""

    def encode_audio(self, batch, key):
        mask = batch["segment_mask"]
        start = mask.max(axis=1, keepdims=True)
        return Encoded(batch["audio_states"], jnp.concatenate([start, mask], axis=1))

    def encode_text(self, batch, key):
        return Encoded(batch["text_states"], batch["token_mask"])

    def fuse(self, audio, text, key):
        return Encoded(
            jnp.concatenate([audio.hidden, text.hidden], axis=1),
            jnp.concatenate([audio.mask, text.mask], axis=1),
        )


TRUNK = Trunk()
derangements = tiny.one_program(jax.vmap(derangement, (None, 0)))


def make_batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    batch = tiny.make_batch(rows, seed)
    batch["audio_states"] = rng.normal(size=(rows, tiny.SEGMENTS + 1, HIDDEN)).astype(np.float32)
    batch["text_states"] = rng.normal(size=(rows, tiny.TOKENS, HIDDEN)).astype(np.float32)
    return batch


def build(**changes: object) -> CorrectPair:
    """`changes` are fields of `config.correct_pair`."""
    config = tiny.make_config(**{f"correct_pair.{name}": x for name, x in changes.items()})
    return CorrectPair(config.correct_pair, tiny.make_contract(), Widths(HIDDEN), rngs=Keys(0))


@pytest.fixture(scope="module")
def objective() -> CorrectPair:
    return tiny.compiled(tiny.make_module(build))


def test_the_head_has_the_size_of_atbert():
    config, contract = tiny.make_config(), tiny.make_contract()
    head = nnx.eval_shape(
        lambda: CorrectPair(config.correct_pair, contract, Widths(768), rngs=Keys(0))
    )
    assert head.heads[0].dense.kernel.shape == (1536, 768)
    assert head.heads[0].output.kernel.shape == (768, 2)
    assert tiny.count(head) == 1536 * 768 + 768 + 768 * 2 + 2


@pytest.mark.parametrize(
    "valid",
    [np.ones(size) for size in range(2, 10)]
    + [np.array(rows) for rows in ([1, 0, 1], [0, 1, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0, 0, 1])],
    ids=str,
)
def test_derangement_has_no_fixed_point_and_stays_among_the_valid(valid):
    orders = derangements(valid, KEYS)
    rows = np.arange(len(valid))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(rows, orders.shape))
    assert (orders[:, valid > 0] != rows[valid > 0]).all()
    np.testing.assert_array_equal(
        orders[:, valid == 0], np.broadcast_to(rows[valid == 0], (len(KEYS), (valid == 0).sum()))
    )


@pytest.mark.parametrize("valid", [[1], [0, 1, 0], [0, 0]])
def test_derangement_of_fewer_than_two_rows_changes_nothing(valid):
    (order,) = derangements(np.array(valid), KEYS[:1])
    np.testing.assert_array_equal(order, np.arange(len(valid)))


def test_derangement_favours_no_row():
    keys = jax.random.split(jax.random.key(1), 6000)
    orders = derangements(np.ones(4), keys)
    counts = np.array([(orders == other).sum(axis=0) for other in range(4)])
    np.testing.assert_allclose(counts, 2000 * (1 - np.eye(4)), atol=200)


def test_position_is_valid_behind_the_summary_and_uniform():
    mask = np.array([[1, 1, 0, 1, 0, 1], [1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]])
    real = [[1, 3, 5], [2, 3, 4, 5], [4, 5]]
    draws = (np.arange(1200) + 0.5) / 1200
    take = tiny.one_program(jax.vmap(take_valid, (None, 0)))
    positions = take(mask, draws[:, None].repeat(3, axis=1).astype(np.float32))
    for row, expected in enumerate(real):
        values, counts = np.unique(positions[:, row], return_counts=True)
        assert values.tolist() == expected
        np.testing.assert_array_equal(counts, 1200 // len(expected))


def test_position_at_the_ends_of_the_draw_and_without_any():
    mask = jnp.array([[1, 1, 0, 1], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    draw = jnp.array([0.0, np.nextafter(np.float32(1), np.float32(0)), 0.5, 0.5])
    assert take_valid(mask, draw).tolist() == [1, 3, 0, 0]


def test_half_of_the_pairs_are_mismatched(objective):
    batch = objective.corrupt(make_batch(6), KEYS[0])
    assert objective.predict(TRUNK, batch)["weight"].tolist() == [[1.0, 1.0]] * 6


def test_equal_texts_and_missing_modalities_are_no_pairs(objective):
    batch = make_batch(5)
    batch["token_ids"][1] = batch["token_ids"][0]
    batch["negative"] = np.array([1, 2, 3, 4, 0])
    batch["position_draw"] = np.full((5, 2), 0.5, np.float32)
    batch["segment_mask"][3] = 0
    batch["token_mask"][4] = 0
    weight = objective.predict(TRUNK, batch)["weight"]
    # Row 0 draws its own words; 2 and 3 lack a side of theirs or of the other's; 4 has no text.
    assert weight[:, 0].tolist() == [1, 1, 1, 0, 0]
    assert weight[:, 1].tolist() == [0, 1, 0, 0, 0]


def test_a_single_clip_is_its_own_negative_of_no_weight(objective):
    batch = objective.corrupt(make_batch(1), KEYS[0])
    assert objective.predict(TRUNK, batch)["weight"].tolist() == [[1, 0]]
    (total, weight), _ = objective.loss(TRUNK, batch, None)
    assert weight == 1
    assert np.isfinite(total)


def test_incomplete_rows_are_no_negatives(objective):
    batch = make_batch(6)
    batch["token_mask"][2] = 0
    batch["valid"][4] = 0
    for key in KEYS[:20]:
        negative = objective.corrupt(batch, key)["negative"]
        assert not set(negative[[0, 1, 3, 5]].tolist()) & {2, 4}


def test_positions_in_evaluation_depend_on_the_record_alone(objective):
    key = jax.random.key(0)
    batch = objective.corrupt(make_batch(6), key)
    np.testing.assert_array_equal(
        batch["position_draw"], objective.corrupt(make_batch(6), key)["position_draw"]
    )
    other = make_batch(3, seed=1) | {"record": np.array([5, 99, 2])}
    draws = objective.corrupt(other, key)["position_draw"]
    np.testing.assert_array_equal(draws[[0, 2]], batch["position_draw"][[5, 2]])
    assert len(np.unique(batch["position_draw"])) == 12


def _expected_loss(objective, batch) -> tuple[float, float, float]:
    """Sum, weight and hits by numpy, pair by pair."""
    dense, output = (
        [np.asarray(x[...], np.float64) for x in (layer.kernel, layer.bias)]
        for layer in (objective.heads[0].dense, objective.heads[0].output)
    )
    total = count = hits = 0.0
    for row, other in enumerate(batch["negative"]):
        for match, text in ((1, row), (0, other)):
            if not batch["valid"][row] * batch["valid"][text]:
                continue
            if match == 0 and (batch["token_ids"][row] == batch["token_ids"][text]).all():
                continue
            hidden = np.concatenate([batch["audio_states"][row], batch["text_states"][text]])
            mask = np.concatenate([[1], batch["segment_mask"][row], batch["token_mask"][text]])
            real = np.flatnonzero(mask)[1:]
            draw = batch["position_draw"][row, 1 - match]
            pair = np.concatenate([hidden[0], hidden[real[int(draw * len(real))]]])
            logits = np.tanh(pair @ dense[0] + dense[1]) @ output[0] + output[1]
            total += np.log(np.exp(logits).sum()) - logits[match]
            hits += logits.argmax() == match
            count += 1
    return total, count, hits


def test_loss_and_accuracy_equal_numpy(objective):
    batch = make_batch(6)
    batch["valid"][3] = 0
    batch["token_ids"][[0, 4]] = 5
    batch["token_ids"][[1, 2, 5]] = 6
    batch = objective.corrupt(batch, KEYS[3])
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    expected, count, hits = _expected_loss(objective, batch)
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert float(weight) == count < 10
    assert [float(x) for x in metrics["accuracy"]] == [hits, count]
    score = objective.predict(TRUNK, batch)
    match = np.array([1.0, -1.0])
    by_score = np.log1p(np.exp(-score["score"] * match)) * score["weight"]
    assert float(by_score.sum()) == pytest.approx(expected, rel=1e-5)


def test_logits_that_know_nothing_cost_ln_2(objective):
    fresh = tiny.compiled(nnx.jit(build)())
    batch = fresh.corrupt(make_batch(256), KEYS[0])
    (total, weight), _ = fresh.loss(TRUNK, batch, None)
    assert float(total / weight) == pytest.approx(np.log(2), rel=1e-6)
    # Random ones cost a little more: they are sure of themselves, and half of the time wrong.
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    assert np.log(2) < float(total / weight) < np.log(2) + 0.3
    assert float(metrics["accuracy"][0] / weight) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("inputs", "heads"),
    [("summary", [[0]]), ("two_heads", [[0], [1]]), ("summary_random", [[0, 1]])],
)
def test_the_inputs_of_the_heads(inputs, heads):
    """Every head sees its states and no others, and heads are added."""
    objective = tiny.compiled(tiny.make_module(lambda: build(inputs=inputs)))
    batch = objective.corrupt(make_batch(4), KEYS[1])
    batch["segment_mask"] = np.ones_like(batch["segment_mask"])
    batch["position_draw"] = np.zeros((4, 2), np.float32)  # the first segment, both times
    states = np.asarray(batch["audio_states"][:, :2])
    logits = 0.0
    losses = np.zeros(4)
    for head, parts in zip(objective.heads, heads, strict=True):
        ask = tiny.one_program(head)
        each = ask(np.concatenate([states[:, part] for part in parts], axis=1))
        logits = logits + each
        losses += np.log(np.exp(each).sum(axis=1)) - each[:, 1]
    outputs = objective.predict(TRUNK, batch)
    np.testing.assert_allclose(outputs["score"][:, 0], logits[:, 1] - logits[:, 0], atol=1e-5)
    only_matches = batch | {"negative": np.arange(4)}
    (total, weight), _ = objective.loss(TRUNK, only_matches, None)
    assert float(weight) == 4
    assert float(total) == pytest.approx(losses.sum(), rel=1e-5)


def test_a_linear_head_is_one_map_of_the_summary():
    """MuLaP's matching of audio and text: 1024 numbers to two."""
    config = tiny.make_config(**{"correct_pair.inputs": "summary", "correct_pair.head": "linear"})

    def make(hidden: int) -> CorrectPair:
        return CorrectPair(config.correct_pair, tiny.make_contract(), Widths(hidden), rngs=Keys(0))

    assert tiny.count(nnx.eval_shape(lambda: make(1024))) == 2050
    objective = tiny.compiled(tiny.make_module(lambda: make(HIDDEN)))
    batch = objective.corrupt(make_batch(4), KEYS[1])
    batch["segment_mask"] = np.ones_like(batch["segment_mask"])
    output = objective.heads[0].output
    kernel, bias = np.asarray(output.kernel[...]), np.asarray(output.bias[...])
    logits = batch["audio_states"][:, 0] @ kernel + bias
    found = objective.predict(TRUNK, batch)["score"][:, 0]
    np.testing.assert_allclose(found, logits[:, 1] - logits[:, 0], atol=1e-5)
    config.correct_pair.head = "deep"
    with pytest.raises(ValueError, match="head='deep' is none of mlp, linear"):
        make(HIDDEN)


def test_unknown_inputs_are_refused():
    config = tiny.make_config(**{"correct_pair.inputs": "all"})
    with pytest.raises(ValueError, match=r"inputs='all' is none of summary_random, summary"):
        CorrectPair(config.correct_pair, tiny.make_contract(), Widths(HIDDEN), rngs=Keys(0))


def test_padding_rows_change_nothing(objective):
    batch = objective.corrupt(make_batch(4), KEYS[5])
    garbage = make_batch(2, seed=9) | {"valid": np.zeros(2, np.float32)}
    garbage |= {
        "negative": np.array([4, 5]),
        "position_draw": np.full((2, 2), 0.9, np.float32),
    }
    padded = {name: np.concatenate([batch[name], garbage[name]]) for name in batch}
    (total, weight), metrics = objective.loss(TRUNK, padded, None)
    (expected, count), accuracy = objective.loss(TRUNK, batch, None)
    assert float(total) == pytest.approx(float(expected), rel=1e-6)
    assert weight == count
    assert metrics["accuracy"][0] == accuracy["accuracy"][0]
    # Their negatives too: what is in the padding does not matter to the draw.
    padded = make_batch(4) | {"valid": np.float32([1, 1, 1, 0])}
    other = padded | {"token_ids": padded["token_ids"].copy(), "record": np.arange(4) * 5}
    other["token_ids"][3] = 7
    first, second = (objective.corrupt(x, KEYS[5])["negative"] for x in (padded, other))
    assert first.tolist() == second.tolist()


def test_summary_and_answer_read_the_scores(objective):
    outputs = {
        "score": np.array([[2.0, -1.0], [0.5, 3.0], [1.0, 9.0]]),
        "weight": np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]),
    }
    summary = objective.summarize(outputs, "mean")
    assert summary["accuracy"] == pytest.approx(4 / 5)
    # Of 3 matching and 2 mismatched pairs, the right one scores higher in 3 of 6 comparisons.
    assert summary["roc_auc"] == pytest.approx(3 / 6)
    match = objective.answer(outputs, ("audio", "text"), "mean")["match"]
    assert match == pytest.approx(np.mean(1 / (1 + np.exp(-outputs["score"][:, 0]))))
    assert objective.answer(outputs, ("audio",), "mean") == {}
