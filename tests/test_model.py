"""The Python interface answers as the commands do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import atbert_jax
from atbert_jax.evaluation.prediction import Predictor
from tests import commands, tiny, tones

RATE = tones.TONE_RATE


def make_run(folder: Path, name: str, **objectives: float) -> Path:
    manifest = tones.write_manifest(folder, 4, 2, 2, seconds=(0.5, 0.8, 1.3))
    changes = {f"objectives.{key}": value for key, value in objectives.items()}
    views = {"classification.views": ("audio",)} if "classification" in objectives else {}
    config = tones.make_config(manifest, normalization="none", **tiny.MODEL, **changes, **views)
    tiny.save_run(folder / name, config)
    return folder / name


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("tagged"), "run", classification=1.0)


@pytest.fixture(scope="module")
def tagger(tagged) -> atbert_jax.Model:
    return atbert_jax.load(tagged)


@pytest.fixture(scope="module")
def paired(tmp_path_factory) -> atbert_jax.Model:
    folder = tmp_path_factory.mktemp("paired")
    return atbert_jax.load(make_run(folder, "run", correct_pair=1.0, alignment=1.0))


@pytest.fixture(scope="module")
def files(tagged) -> list[Path]:
    return sorted((tagged.parent / "tracks").rglob("*.wav"))[:3]


def test_nothing_is_imported_before_it_is_needed():
    code = "import sys, atbert_jax; print({'jax', 'numpy', 'tensorflow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert {"Model", "load"} <= set(dir(atbert_jax))


@pytest.mark.slow
def test_tags_are_those_of_the_command(tagger, tagged, files):
    result = commands.run("atbert_jax.predict", f"--checkpoint={tagged}", "--json", *files)
    assert not result.returncode, result.stderr
    for file, line in zip(files, result.stdout.splitlines(), strict=True):
        expected = json.loads(line)
        found = tagger.tag(file)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        for label, probability in expected["probabilities"].items():
            # The command compiles with fewer optimizations here.
            assert found[label] == pytest.approx(probability, abs=1e-6)
        assert tagger.predict(file)["duration"] == expected["duration"]


def test_an_array_answers_as_its_file(tagger, files):
    sound, rate = soundfile.read(files[1], dtype="float32")
    stereo = np.stack([sound, sound])
    integers, _ = soundfile.read(files[1], dtype="int16")
    expected = tagger.embed_audio(files[1])
    for given in (sound, stereo, stereo.T, integers):
        np.testing.assert_array_equal(tagger.embed_audio(given, sample_rate=rate), expected)


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "no finite numbers"), (0.0, "0 in every direction")]
)
def test_what_is_no_direction_is_refused_by_name(paired, files, monkeypatch, value, said):
    close = Predictor._close

    def broken(self, answer):
        found = close(self, answer)
        found.embedding[:] = value
        return found

    monkeypatch.setattr(Predictor, "_close", broken)
    with pytest.raises(ValueError, match=f"{files[0].name}: the model gives {said}"):
        paired.embed_audio(files[0])
    with pytest.raises(ValueError, match=f"low: the model gives {said}"):
        paired.embed_text("low")


def test_embeddings_are_of_length_one_in_the_order_given(paired, files):
    sound = soundfile.read(files[2], dtype="float32")[0]
    found = paired.embed_audio([files[0], sound, str(files[1])], sample_rate=RATE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    for number, file in enumerate((files[0], files[2], files[1])):
        np.testing.assert_allclose(found[number : number + 1], paired.embed_audio(file), atol=1e-6)
    texts = paired.embed_text(["a low tone", "a high tone"])
    assert texts.shape == (2, found.shape[1])
    cosines = paired.similarity(files[:1], ["a low tone", "a high tone"])
    np.testing.assert_allclose(cosines, found[:1] @ texts.T, atol=1e-6)


def test_labels_that_it_was_not_trained_on(paired, files):
    (found,) = paired.zero_shot(files[0], ["low", "high"], template="a {} tone")
    assert found.keys() == {"low", "high"}
    assert sum(found.values()) == pytest.approx(1)


def test_tags_by_time(tagger, files):
    found = tagger.tag(files[2], by_time=True)
    assert found.scores.shape == (len(found.starts), 2)
    assert len(tagger.tag(files[2], top=1)) == 1


def test_a_head_on_embeddings_tells_labels_of_ones_own(paired, tagged):
    tracks = sorted((tagged.parent / "tracks").glob("*.wav"))
    names = ["high" if int(file.stem[-1]) % 2 else "low" for file in tracks]
    head = paired.fit_head(tracks[:-2], names[:-2], penalty=0.01)
    assert head.predict(tracks[-2:]) == names[-2:]
    vectors = paired.embed_audio(tracks)
    again = paired.fit_head(vectors[:-2], names[:-2], penalty=0.01)
    np.testing.assert_allclose(again.probabilities(vectors), head.probabilities(tracks), atol=1e-6)


def test_a_head_is_fitted_without_the_extras(tmp_path):
    code = (
        f"{commands.WITHOUT_TENSORFLOW}import numpy as np; from atbert_jax.model import Model;"
        " head = Model(None).fit_head(np.eye(4), ['a', 'b', 'a', 'b'], penalty=1);"
        " print(head.labels)"
    )
    done = commands.run(code=code)
    assert done.stdout == "('a', 'b')\n", done.stderr


@pytest.mark.slow
def test_an_evaluation_is_that_of_the_command(tagger, tagged, tmp_path):
    manifest = tagged.parent / "tracks" / "tracks.csv"
    flags = (f"--checkpoint={tagged}", f"--manifest={manifest}", f"--output={tmp_path / 'report'}")
    result = commands.run("atbert_jax.evaluate", *flags, "--nobaseline", "--split=val")
    assert not result.returncode, result.stderr
    found = tagger.evaluate(manifest, split="val", with_baseline=False)
    expected = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert json.loads(json.dumps(found)) == expected
    with pytest.raises(ValueError, match="split='all' is none of train, val, test"):
        tagger.evaluate(manifest, split="all")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda m, _: m.embed_audio(np.zeros(9)), "give sample_rate"),
        (lambda m, _: m.embed_audio(np.zeros((2, 3, 4)), sample_rate=8), r"\(2, 3, 4\)"),
        (lambda m, _: m.embed_audio(np.array([np.nan]), sample_rate=8), "finite"),
        (lambda m, _: m.embed_audio([]), "list is empty"),
        (lambda m, _: m.embed_audio("nowhere.wav"), "nowhere.wav: "),
        (lambda m, _: m.embed_text("low"), "was trained on audio alone and knows no text"),
        (lambda m, f: m.tag(f[0], text="low"), "text 'low': .*knows no text; leave it out"),
        (lambda m, _: m.predict(), "nothing to predict"),
        (lambda m, f: m.zero_shot(f[0], ["low", "high"]), "compares no clip with a text"),
        (lambda m, f: m.similarity(f[0], ["low"]), "without 'alignment'"),
    ],
)
def test_what_cannot_be_answered_is_refused(tagger, files, ask, said):
    with pytest.raises(ValueError, match=said):
        ask(tagger, files)


@pytest.mark.parametrize("text", ["", "?!"])
def test_a_text_without_a_known_word_is_refused(paired, files, text):
    with pytest.raises(ValueError, match="reads no word in"):
        paired.embed_text(text)
    with pytest.raises(ValueError, match="reads no word in"):
        paired.predict(files[0], text or "?")


def test_a_text_is_answered_alone_and_beside_a_file(paired, files):
    assert paired.predict(text="a low tone").keys() >= {"text", "duration"}
    assert 0 <= paired.predict(files[0], "a low tone")["match"] <= 1


def test_a_model_without_labels_tags_nothing(paired, files):
    with pytest.raises(ValueError, match="trained on no labels"):
        paired.tag(files[0])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        atbert_jax.load(tmp_path)
