"""Classification and regression against closed forms: losses, views, mixup, scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax import objectives
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.classification import Classification
from tests import tiny
from tests.tiny import Widths

HIDDEN = 8


class Trunk:
    """Hidden states from the batch; text is twice as far from the origin, both together thrice."""

    modalities = ("audio", "text")

    def encode_audio(self, batch, key):
        return Encoded(batch["states"], batch["mask"])

    def encode_text(self, batch, key):
        return Encoded(2 * batch["states"], batch["mask"])

    def fuse(self, audio, text, key):
        if audio is None or text is None:
            return audio or text
        return Encoded(audio.hidden + text.hidden, audio.mask)


TRUNK = Trunk()


def make_batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    batch = tiny.make_batch(rows, seed)
    batch["states"] = rng.normal(size=(rows, 5, HIDDEN)).astype(np.float32)
    batch["mask"] = (np.arange(5) < rng.integers(1, 6, rows)[:, None]).astype(np.float32)
    return batch


def make(task: str = "single_label", hidden: int = HIDDEN, contract=None, **changes):
    """The objective; `changes` are fields of `config.classification`."""
    changes = {"views": ("audio",)} | changes
    config = tiny.make_config(**{f"classification.{name}": x for name, x in changes.items()})
    contract = contract or tiny.make_contract(task)
    return tiny.compiled(
        tiny.make_module(
            lambda: Classification(config.classification, contract, Widths(hidden), rngs=Keys(0))
        )
    )


def affine(layer: nnx.Linear, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])


def logits_of(objective: Classification, hidden: np.ndarray) -> np.ndarray:
    inner = np.tanh(affine(objective.dense, hidden))
    return affine(objective.output, inner).astype(np.float64)


def test_the_residual_head_adds_to_the_features():
    objective, states = make(head="residual"), make_batch(5)["states"]
    hidden = np.asarray(states[:, 0], np.float64)
    inner = np.maximum(affine(objective.dense, hidden), 0)
    expected = affine(objective.output, hidden + affine(objective.residual, inner))
    found = tiny.one_program(objective.logits)(Encoded(states, None), None)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_the_head_has_the_size_of_atbert():
    config, contract = tiny.make_config(), tiny.make_contract()
    labels = contract.labels.__class__("single_label", tuple("abcdefghij"))
    contract = tiny.make_contract(labels=labels)
    head = nnx.eval_shape(
        lambda: Classification(config.classification, contract, Widths(768), rngs=Keys(0))
    )
    assert tiny.count(head) == 299_146


def test_width_and_activation_of_the_head_can_be_chosen():
    """MuLaP's tasks: ReLU between two layers of a width of their own."""
    objective, batch = make(activation="relu"), make_batch(3)
    config = tiny.make_config(**{"classification.hidden": 512, "classification.views": ("audio",)})
    head = nnx.eval_shape(
        lambda: Classification(
            config.classification, tiny.make_contract(), Widths(1506), rngs=Keys(0)
        )
    )
    assert tiny.count(head) == 1507 * 512 + 513 * 3
    states = np.asarray(batch["states"][:, 0])
    expected = affine(objective.output, np.maximum(affine(objective.dense, states), 0))
    found = objective.predict(TRUNK, batch)["audio"]
    np.testing.assert_allclose(found, np.exp(log_softmax(expected)), atol=1e-6)
    with pytest.raises(ValueError, match=r"activation='gelu' is none of tanh, relu"):
        make(activation="gelu")


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_single_label_loss(smoothing):
    objective = make(label_smoothing=smoothing)
    batch = make_batch(6)
    batch["valid"] = np.float32([1, 1, 0, 1, 1, 1])
    batch["label_mask"] = np.float32([1, 0, 1, 1, 1, 1])
    rows = [0, 3, 4, 5]
    logits = logits_of(objective, batch["states"][:, 0])[rows]
    labels = np.asarray(batch["labels"])[rows]
    wanted = (1 - smoothing) * labels + smoothing / 3
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    assert float(total) == pytest.approx(-(wanted * log_softmax(logits)).sum(), rel=1e-5)
    assert weight == 4
    hits = (logits.argmax(axis=1) == labels.argmax(axis=1)).sum()
    assert [float(x) for x in metrics["accuracy"]] == [hits, 4]


def test_multi_label_loss():
    objective = make("multi_label")
    batch = make_batch(5)
    batch["labels"] = np.float32([[0, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0]])
    batch["label_mask"] = np.float32([1, 1, 1, 0, 1])
    rows = [0, 1, 2, 4]
    probability = 1 / (1 + np.exp(-logits_of(objective, batch["states"][:, 0])[rows]))
    labels = np.asarray(batch["labels"])[rows]
    losses = -(labels * np.log(probability) + (1 - labels) * np.log(1 - probability))
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    assert float(total) == pytest.approx(losses.mean(axis=1).sum(), rel=1e-5)
    assert weight == 4
    assert metrics == {}


def test_regression_loss_and_scores_in_their_own_units():
    objective = make("regression")
    batch = make_batch(5)
    batch["labels"] = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    batch["valid"] = np.float32([1, 1, 1, 1, 0])
    logits = logits_of(objective, batch["states"][:, 0])
    (total, weight), _ = objective.loss(TRUNK, batch, None)
    expected = ((logits - batch["labels"]) ** 2).mean(axis=1)[:4].sum()
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    assert weight == 4
    scores = objective.predict(TRUNK, batch)["audio"]
    np.testing.assert_allclose(scores, logits * [10, 0.1, 1] + [1, 2, 3], rtol=1e-5, atol=1e-5)
    outputs = {"audio": scores, "labels": batch["labels"], "label_mask": np.ones(5)}
    outputs = {name: np.asarray(value) for name, value in outputs.items()}
    perfect = outputs | {"labels": logits, "record": np.arange(5)}
    assert objective.summarize(perfect, "mean")["audio"]["r2"] == pytest.approx(1, abs=1e-5)


def test_probabilities_add_up_or_stand_alone():
    batch = make_batch(4)
    single = make().predict(TRUNK, batch)["audio"]
    np.testing.assert_allclose(single.sum(axis=1), 1, rtol=1e-6)
    objective = make("multi_label")
    logits = logits_of(objective, batch["states"][:, 0])
    scores = objective.predict(TRUNK, batch)["audio"]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_a_linear_head_is_one_layer():
    objective = make(head="linear")
    assert tiny.count(objective) == 3 * HIDDEN + 3
    batch = make_batch(4)
    logits = affine(objective.output, batch["states"][:, 0])
    scores = objective.predict(TRUNK, batch)["audio"]
    np.testing.assert_allclose(scores, np.exp(log_softmax(logits)), rtol=1e-5)


def test_views_share_the_head_and_the_loss_is_their_mean():
    objective = make(views=("audio_text", "audio", "text"))
    batch = make_batch(6)
    labels = np.asarray(batch["labels"])
    logits = {
        view: logits_of(objective, factor * batch["states"][:, 0])
        for view, factor in (("audio_text", 3), ("audio", 1), ("text", 2))
    }
    losses = [-(labels * log_softmax(values)).sum() for values in logits.values()]
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    assert float(total) == pytest.approx(np.mean(losses), rel=1e-5)
    assert weight == 6
    hits = (logits["audio_text"].argmax(axis=1) == labels.argmax(axis=1)).sum()
    assert metrics["accuracy"][0] == hits
    scores = objective.predict(TRUNK, batch)
    assert scores.keys() == logits.keys()
    for view, values in logits.items():
        np.testing.assert_allclose(scores[view], np.exp(log_softmax(values)), rtol=1e-4, atol=1e-6)


def test_mean_pooling_leaves_padding_out():
    objective = make(pooling="mean")
    batch = make_batch(6)
    mask = np.asarray(batch["mask"])[..., None]
    pooled = (batch["states"] * mask).sum(axis=1) / mask.sum(axis=1)
    scores = objective.predict(TRUNK, batch)["audio"]
    expected = np.exp(log_softmax(logits_of(objective, pooled)))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    garbage = batch["states"] + 100 * (1 - mask)
    other = objective.predict(TRUNK, batch | {"states": garbage})["audio"]
    np.testing.assert_allclose(other, scores, rtol=1e-5, atol=1e-6)


def _mixable(rows: int) -> dict[str, np.ndarray]:
    """Clips that hold their own row number, with one-hot labels of it."""
    batch = make_batch(rows)
    number = np.arange(rows, dtype=np.float32)
    return batch | {
        "log_mel": np.broadcast_to(number[:, None, None, None], batch["log_mel"].shape),
        "labels": np.eye(rows, dtype=np.float32),
        "label_mask": (number != 2).astype(np.float32),
        "valid": (number != 5).astype(np.float32),
    }


def test_mixup_mixes_clips_and_labels_alike():
    objective = make(mixup=0.4)
    batch = _mixable(8)
    lengths = {name: np.asarray(batch[name]) for name in ("segment_mask", "samples")}
    shares, mix = [], tiny.one_program(objective.mix)
    for seed in range(20):
        mixed = mix(batch, jax.random.key(seed))
        labels = np.asarray(mixed["labels"])
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
        assert (labels >= 0).all()
        # Each clip holds what its labels say, and its own share is the larger one.
        clips = np.asarray(mixed["log_mel"])
        expected = np.broadcast_to((labels @ np.arange(8))[:, None, None, None], clips.shape)
        np.testing.assert_allclose(clips, expected, atol=1e-5)
        assert (np.diag(labels) >= 0.5).all()
        shares.append(np.diag(labels))
        # Rows without a label, and those that are no rows, neither change nor get into others.
        np.testing.assert_array_equal(labels[[2, 5]], np.eye(8)[[2, 5]])
        np.testing.assert_array_equal(labels[:, [2, 5]], np.eye(8)[:, [2, 5]])
        for name, before in lengths.items():
            union = np.array([before[row > 0].max(axis=0) for row in labels])
            np.testing.assert_array_equal(mixed[name], union)
    assert np.mean(np.array(shares) < 1) > 0.3


def test_mixup_is_for_training_alone():
    class Listening(Trunk):
        def encode_audio(self, batch, key):
            states = batch["log_mel"].mean(axis=(1, 2, 3))[:, None, None]
            return Encoded(jnp.broadcast_to(states, (8, 5, HIDDEN)), batch["mask"])

    batch, listening = _mixable(8), Listening()
    mixing = make(mixup=5.0, contract=_eight_labels())
    plain = make(contract=_eight_labels())
    batch = mixing.corrupt(batch, jax.random.key(0))
    np.testing.assert_array_equal(batch["labels"], np.eye(8))
    (total, weight), metrics = mixing.loss(listening, batch, None)
    expected, wanted = plain.loss(listening, batch, None)
    assert (float(total), float(weight)) == tuple(map(float, expected))
    assert metrics == wanted
    np.testing.assert_array_equal(
        mixing.predict(listening, batch)["audio"], plain.predict(listening, batch)["audio"]
    )
    (mixed, weight), _ = mixing.loss(listening, batch, jax.random.key(0))
    assert weight == expected[1]
    assert abs(float(mixed - total)) > 1e-3


def _eight_labels():
    labels = tiny.make_contract().labels.__class__("single_label", tuple("abcdefgh"))
    return tiny.make_contract(labels=labels)


def test_summary_is_by_track_and_leaves_unlabelled_out():
    objective = make()
    outputs = {
        "audio": np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.1, 0.0]]),
        "labels": np.eye(3)[[1, 1, 2, 2]],
        "label_mask": np.array([1.0, 1, 1, 0]),
        "record": np.array([4, 4, 6, 8]),
    }
    summary = objective.summarize(outputs, "mean")["audio"]
    # Track 4 is right on the mean of its two chunks, though not in the first one.
    assert summary["accuracy"] == 1.0
    assert sum(map(sum, summary["confusion_matrix"])) == 2


def test_answers_name_the_labels():
    views = ("audio_text", "audio")
    scores = np.array([[0.2, 0.7, 0.1], [0.4, 0.5, 0.1]])
    outputs = {"audio_text": scores, "audio": scores[:, ::-1]}
    answer = make(views=views).answer(outputs, ("audio", "text"), "mean")
    assert answer["prediction"] == "middle"
    assert answer["probabilities"] == pytest.approx({"low": 0.3, "middle": 0.6, "high": 0.1})
    alone = make(views=views).answer(outputs, ("audio",), "mean")
    assert alone["probabilities"]["low"] == pytest.approx(0.1)
    # A view that was not trained is answered by the first one.
    text = make(views=views).answer(outputs, ("text",), "mean")
    assert text == answer
    several = make("multi_label", views=views).answer(outputs, ("audio", "text"), "max")
    assert several["prediction"] == ["middle"]
    limits = {"audio_text": {"low": 0.35, "middle": 0.8}, "audio": {}}
    tuned = make("multi_label", views=views).answer(outputs, ("audio", "text"), "max", limits)
    assert tuned["prediction"] == ["low"]
    numbers = make("regression", views=views).answer(outputs, ("audio", "text"), "mean")
    assert numbers["prediction"] == pytest.approx({"low": 0.3, "middle": 0.6, "high": 0.1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": ()}, r"config\.classification\.views is empty; name some of audio_text, audio"),
        ({"views": ("sound",)}, "views='sound' is none of audio_text, audio, text"),
        ({"head": "deep"}, "head='deep' is none of mlp, linear, residual"),
        ({"pooling": "max"}, "pooling='max' is none of summary, mean"),
        ({"mixup": 0.2, "views": ("audio", "text")}, "mixup mixes audio, so it needs views"),
    ],
)
def test_wrong_settings_say_what_is_right(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_data_without_labels_is_refused():
    with pytest.raises(ValueError, match=r"needs labels: set config\.data\.task"):
        make(contract=tiny.make_contract(""))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, r"config\.objectives is empty; name some of alignment, classification"),
        ({"objectives.correct_pairs": 1.0}, "'correct_pairs' is none of .*mean 'correct_pair'"),
    ],
)
def test_unknown_objectives_are_refused_with_the_choices(names, message):
    config = tiny.make_config(**names)
    with pytest.raises(ValueError, match=message):
        objectives.build(config, tiny.make_contract(), HIDDEN, rngs=Keys(0))
