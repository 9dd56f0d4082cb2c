"""Labels that a listener made by hand was never trained on."""

import numpy as np
import pytest
import soundfile
from sklearn import metrics as sk

from atbert_jax.evaluation import zero_shot
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.evaluation.zero_shot import ZeroShot
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.manifest.records import Record
from tests import listener


def close(value):
    return pytest.approx(value, abs=1e-6)


@pytest.fixture
def tones(tmp_path):
    """A low tone of one chunk and a high one of three."""
    for name, pitch, seconds in (("low", 250, 0.5), ("high", 2500, 1.4)):
        time = np.arange(round(seconds * 8000)) / 8000
        soundfile.write(tmp_path / f"{name}.wav", 0.5 * np.sin(2 * np.pi * pitch * time), 8000)
    return [Record(id=name, path=tmp_path / f"{name}.wav") for name in ("low", "high")]


@pytest.mark.parametrize(
    ("objectives", "aware", "height"),
    [
        (("correct_pair",), False, listener.SCORE),
        (("alignment", "correct_pair"), False, listener.SCORE),  # the pair head goes first
        (("alignment",), True, listener.SCALE),
    ],
    ids=str,
)
def test_the_label_that_fits_is_the_most_probable(tones, objectives, aware, height):
    model = listener.make(*objectives, aware=aware)
    labels = ZeroShot(model, ["high", "low"], "a {} tone")
    answers = list(Predictor(model, labels).predict(tones))
    fits = np.exp(height) / (np.exp(height) + 1)
    assert answers[0].fields["zero_shot"] == {"high": close(1 - fits), "low": close(fits)}
    assert answers[1].fields["zero_shot"] == {"high": close(fits), "low": close(1 - fits)}


def test_a_text_without_a_file_has_no_label(tones):
    model = listener.make("correct_pair")
    text = Record(id="text", path=type(tones[0].path)(), text="a low tone")
    (answer,) = Predictor(model, ZeroShot(model, ["high", "low"])).predict([text])
    assert answer.fields == {}


def test_probabilities_are_of_the_mean_over_chunks():
    labels = ZeroShot(listener.make("correct_pair"), ["high", "low", "a tone"])
    scores = np.array([[1.0, -1.0, 0.5], [3.0, 0.0, -0.5]])
    expected = np.exp([2.0, -0.5, 0.0]) / np.exp([2.0, -0.5, 0.0]).sum()
    found = labels.answer({"correct_pair": scores})
    assert list(found) == ["high", "low", "a tone"]
    assert list(found.values()) == [close(value) for value in expected]
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("objectives", "labels", "template", "message"),
    [
        (("classification",), ["high", "low"], "{}", "trained on classification, which compares"),
        (("alignment",), ["high", "low"], "a tone", "template 'a tone' has no {} for the label"),
        (("alignment",), ["high"], "{}", r"two or more, not \['high'\]"),
        (("alignment",), ["high", "!?"], "{}", "label '!\\?': the model reads no text"),
        (("alignment",), ["high", "low", "Low!"], "{}", "labels 'low' and 'Low!' read the same"),
        (("alignment",), ["high", "high"], "{}", "labels 'high' and 'high' read the same"),
    ],
)
def test_what_cannot_be_asked_is_refused(objectives, labels, template, message):
    with pytest.raises(ValueError, match=message):
        ZeroShot(listener.make(*objectives), labels, template)


def load(model, manifest):
    model.config.data.manifest = str(manifest)
    model.config.data.threads = 2
    return dataset.load(model.config, None, contract=model.contract, tokenizer=model.tokenizer)


def test_accuracy_beside_chance(tone_manifest):
    model = listener.make("correct_pair", "alignment", aware=False)
    # Clips of one and of two chunks; the last low one is called high.
    manifest = tone_manifest(train=7, seconds=(0.5, 1.0))
    rows = manifest.read_text().splitlines()
    assert rows[7].endswith("low,train")
    rows[7] = rows[7].replace("low,train", "high,train")
    manifest.write_text("\n".join(rows))
    data = load(model, manifest)
    labels = zero_shot.of_dataset(model, data, "a {}")
    values, (table,), (figure,), _ = zero_shot.measure(model, labels, data, "train")
    truth = [0, 1, 0, 1, 0, 1, 1]
    assert values["correct_pair"]["accuracy"] == close(6 / 7)
    guess = [0, 1, 0, 1, 0, 1, 0]
    assert values["correct_pair"]["macro_f1"] == close(sk.f1_score(truth, guess, average="macro"))
    # Equal cosines leave the first label, 'high'.
    assert values["alignment"]["accuracy"] == values["commonest"]["accuracy"] == close(4 / 7)
    majority = sk.f1_score(truth, [1] * 7, average="macro", zero_division=0)
    assert values["commonest"]["macro_f1"] == close(majority)
    assert values["chance"]["accuracy"] == 0.5
    assert [row[0] for row in table.rows][-2:] == ["chance", "always the commonest label"]
    assert "'a {}'" in table.note
    assert figure.title == "Zero-shot labels"


def test_chance_is_that_of_many_random_labels():
    rng = np.random.default_rng(0)
    truth = rng.choice(4, 400_000, p=[0.6, 0.3, 0.1, 0.0])
    guess = rng.integers(0, 4, len(truth))
    found = zero_shot.known_beforehand(np.eye(4)[truth], ("a", "b", "c", "d"))["chance"]
    assert found["accuracy"] == 0.25 == pytest.approx(sk.accuracy_score(truth, guess), abs=0.005)
    expected = sk.f1_score(truth, guess, average="macro", labels=[0, 1, 2])
    assert found["macro_f1"] == pytest.approx(expected, abs=0.005)


def test_tags_are_not_one_label(tone_manifest):
    model = listener.make("correct_pair", **{"data.task": "multi_label"})
    data = load(model, tone_manifest())
    with pytest.raises(ValueError, match=r"chooses one label; config\.data\.task is 'multi_label'"):
        zero_shot.of_dataset(model, data, "{}")
