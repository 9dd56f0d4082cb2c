"""A model is asked about what it knows, and refuses the rest with what it knows."""

from pathlib import Path

import numpy as np
import pytest

from atbert_jax import predict
from atbert_jax.evaluation import prediction
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.objectives.classification import Classification
from atbert_jax.training import trained
from tests import ear, tiny, tones

BOTH, AUDIO, TEXT = ("audio", "text"), ("audio",), ("text",)
CLASSIFY = {**tiny.MODEL, "objectives.classification": 1.0, "normalization": "none"}
PAIRS = {**tiny.MODEL, "objectives.correct_pair": 1.0, "normalization": "none", "data.task": ""}
SAD = Record("text", Path(), text="a low tone")


def without_text(manifest: Path) -> None:
    """Drops the column of captions."""
    rows = [row.split(",") for row in manifest.read_text().splitlines()]
    manifest.write_text("".join(",".join(row[:2] + row[3:]) + "\n" for row in rows))


@pytest.fixture
def predictor(tmp_path, monkeypatch):
    """Makes one of a config, with the audio file that it may be asked about."""
    ear.install(monkeypatch)

    def make(changes: dict, *, texts: bool = True) -> tuple[Predictor, Record]:
        manifest = tones.write_manifest(tmp_path)
        if not texts:
            without_text(manifest)
        tiny.save_run(tmp_path / "run", tones.make_config(manifest, **changes))
        file = manifest.parent / "test0.wav"
        return Predictor(trained.load(tmp_path / "run")), Record(str(file), file)

    return make


def views(*names: str) -> dict:
    return {**CLASSIFY, "classification.views": names}


@pytest.mark.parametrize(
    ("changes", "texts", "refused", "reason"),
    [
        (ear.CONFIG, True, (TEXT, BOTH), "was trained on audio alone and knows no text"),
        (views("audio"), True, (TEXT, BOTH), "was trained on audio alone and knows no text"),
        (views("audio", "text"), False, (TEXT, BOTH), "was trained on audio alone and knows no"),
        (views("text"), True, (AUDIO, BOTH), "was trained on text alone and knows no audio"),
        (views("text", "audio"), True, (BOTH,), "on audio and on text, each by itself; ask about"),
        (views("audio_text"), True, (), ""),
        (views("audio_text", "audio", "text"), True, (), ""),
        (PAIRS, True, (), ""),
    ],
)
def test_what_it_was_not_trained_on_is_refused(predictor, changes, texts, refused, reason):
    asked, file = predictor(changes, texts=texts)
    for given in (AUDIO, TEXT, BOTH):
        assert bool(asked.refusal(given)) == (given in refused)
        assert not refused or reason in "".join(asked.refusal(given) for given in refused)
    both = [(AUDIO, "", [file]), (TEXT, "a low tone", [SAD]), (BOTH, "a low tone", [file])]
    for given, text, wanted in both:
        if given not in refused:
            predict.require_known(asked, text, wanted)
            continue
        with pytest.raises(ValueError, match=reason):
            predict.require_known(asked, text, wanted)


def test_an_audio_tagger_does_not_answer_a_text_and_says_that_it_leaves_one_out(predictor, caplog):
    asked, file = predictor(ear.CONFIG)
    (alone,) = asked.predict([SAD])
    assert alone.error.endswith("was trained on audio alone and knows no text")
    assert not alone.fields
    with_text = Record(file.id, file.path, text="a high tone")
    one, other = asked.predict([file, with_text])
    assert one.fields == other.fields
    np.testing.assert_array_equal(one.embedding, other.embedding)
    predict.require_known(asked, "", [file, with_text])
    assert "knows no text; 1 texts of the manifest are left out" in caplog.text


def test_a_text_model_answers_the_rows_of_a_manifest_that_have_a_text(predictor, caplog):
    asked, file = predictor(views("text"))
    with_text = Record("1", file.path, text="a high tone")
    wanted = [file, with_text, Record("2", file.path, text="?!")]
    predict.require_known(asked, "", wanted)
    assert "2 of 3 records get no answer: " in caplog.text
    assert "was trained on text alone and knows no audio" in caplog.text
    alone, answered, wordless = asked.predict(wanted)
    assert alone.error.endswith("was trained on text alone and knows no audio")
    assert set(answered.fields["probabilities"]) == {"high", "low"}
    assert answered.duration is None
    assert wordless.error == "the model reads no word in '?!'"
    with pytest.raises(ValueError, match=r"test0\.wav: .*was trained on text alone and knows no"):
        predict.require_known(asked, "", [file, file])
    with pytest.raises(ValueError, match=r"--text='a tone': .* no audio; name no files"):
        predict.require_known(asked, "a tone", [file])


def test_a_text_without_a_known_word_is_not_answered(predictor):
    asked, _ = predictor(views("audio_text", "audio", "text"))
    for text in ("?!", "", "犬猫"):
        (answer,) = asked.predict([Record("text", Path(), text=text)])
        assert answer.error == f"the model reads no word in {text!r}"
    with pytest.raises(ValueError, match=r"--text='\?!': the model reads no word in it"):
        predict.require_known(asked, "?!", [SAD])
    assert asked.reads("a low tone")


def test_an_answer_without_fields_says_why(predictor):
    asked, file = predictor(PAIRS)
    (answer,) = asked.predict([file])
    assert answer.fields == {}
    assert answer.note == "correct_pair gave no answer to audio alone"
    assert prediction.as_json(answer)["note"] == answer.note
    assert predict.as_row(answer)[-1] == f"embedding only: {answer.note}"


@pytest.mark.parametrize(
    ("trained_on", "given", "view"),
    [
        (("audio_text", "audio"), AUDIO, "audio"),
        (("audio_text", "audio"), BOTH, "audio_text"),
        (("audio", "audio_text"), TEXT, "audio_text"),
        (("audio",), TEXT, None),
        (("text", "audio"), BOTH, "text"),
        (("audio_text",), AUDIO, "audio_text"),
    ],
)
def test_the_view_is_the_nearest_to_what_is_given(trained_on, given, view):
    class Head:
        views = trained_on

    assert Classification.view(Head, given) == view
