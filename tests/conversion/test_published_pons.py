"""MusiCNN and VGG of the musicnn library: what TensorFlow computes, and what is refused.

With random weights it is computed by graphs that are written after the library's; with the
published weights, which are not distributed here, by the library's own.
"""

import io
import json
from pathlib import Path

import jax
import librosa
import numpy as np
import pytest
from rich.console import Console

from atbert_jax.conversion import convert_folder, published_pons
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.training import trained
from atbert_jax.weights import tensorflow_checkpoint
from tests import pons_graphs
from tests.commands import one_line
from tests.commands import run as command

AUDIO = Path(__file__).resolve().parents[3] / "shared" / "weights" / "audio16k"
LIBRARY = pons_graphs.library()
needs_library = pytest.mark.skipif(
    LIBRARY is None, reason="no musicnn here: get it by `pip install --no-deps musicnn`"
)
needs_audio = pytest.mark.skipif(not AUDIO.is_dir(), reason=f"no {AUDIO}: it is not distributed")
SAMPLES = 187 * 256
# What the training's config calls our data sets.
TOLD = {"mtat": "mtt_float16", "msd": "msd"}


def convert(source: Path, folder: Path, **given: object) -> str:
    """Converts, and returns what is said."""
    console = Console(file=io.StringIO(), width=180)
    convert_folder.pons_from_tensorflow(source, folder, console=console, **given)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def randomly(tmp_path_factory):
    """Folders of checkpoints by the network's name, and their arrays."""
    found = {}
    for name in pons_graphs.SHOWN:
        folder = tmp_path_factory.mktemp("random") / name
        found[name] = folder, pons_graphs.make(name, folder)
    return found


def waveforms(count: int) -> np.ndarray:
    """Tones that rise, with noise, quieter and quieter; the last one is silence: (N, samples)."""
    time = np.arange(SAMPLES) / 16_000
    rng = np.random.default_rng(0)
    tones = [np.sin(2 * np.pi * 200 * (n + 1) * (1 + time) * time) for n in range(count)]
    noise = 0.1 * rng.uniform(-1, 1, (count, len(time)))
    loudness = np.append(np.geomspace(0.9, 0.01, count - 1), 0.0)
    return (loudness[:, None] * (np.stack(tones) + noise) / 1.1).astype(np.float32)


def patch(waveform: np.ndarray) -> np.ndarray:
    """The library's input (187, 96), of librosa, whose frames were mirrored at the edges then."""
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    return np.log10(10_000 * mel.T[:187] + 1)


def assert_every_layer_is_the_same(folder: Path, clips: np.ndarray, expected: tuple) -> None:
    """The output of every layer, and probabilities, to 1e-5 of the largest."""
    answers, theirs = expected
    model = trained.load(folder)
    learner = model.learner
    pictures = jax.jit(lambda x: learner.model.network.pictures(x, np.ones(len(x)), None))(clips)
    assert len(pictures) == len(theirs)
    for number, (found, layer) in enumerate(zip(pictures, theirs, strict=True)):
        # Ours are (N, T, C) or (N, F, T, C), theirs (N, T, C, 1) at most or (N, T, F, C).
        found = np.swapaxes(found, 1, 2) if found.ndim == 4 else np.asarray(found)
        size = np.abs(layer).max()
        np.testing.assert_allclose(
            found / size, layer.reshape(found.shape) / size, atol=1e-5, err_msg=f"layer {number}"
        )
    batch = {"waveform": clips[:, None], "segment_mask": np.ones((len(clips), 1), np.float32)}
    found = jax.jit(lambda batch: learner.predict(batch)["classification"]["audio"])(batch)
    assert np.ptp(answers, axis=0).max() > 0.1
    np.testing.assert_allclose(found, answers, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "data"), [("pons_musicnn", "mtat"), ("pons_vgg", "mtat"), ("pons_vgg", "msd")]
)
def test_random_weights_give_what_tensorflow_gives(randomly, tmp_path, name, data):
    source, arrays = randomly[name]
    (source / "config.json").write_text(json.dumps({"audio_rep": {"identifier": TOLD[data]}}))
    said = convert(source, tmp_path / "run")
    assert "dense/kernel" in said
    assert "unused: the optimizer's moments" in said
    assert f"tagger:{name},{data}" in said
    clips = waveforms(4)
    expected = pons_graphs.run(name, arrays, np.stack([patch(clip) for clip in clips]), data)
    assert_every_layer_is_the_same(tmp_path / "run", clips, expected)
    contract = trained.load(tmp_path / "run").contract
    assert contract.spectrogram.sample_rate == 16_000
    assert contract.labels.task == "multi_label"
    assert contract.labels.names == TAG_SETS[data]


@needs_library
@pytest.mark.slow
@pytest.mark.parametrize("source", ["MTT_musicnn", "MSD_musicnn", "MTT_vgg", "MSD_vgg"])
def test_published_weights_give_what_the_librarys_graph_gives(tmp_path, source):
    """And so do the graphs here, with which random weights are compared."""
    name, data = f"pons_{source[4:]}", {"MTT": "mtat", "MSD": "msd"}[source[:3]]
    convert(LIBRARY / source, tmp_path / "run")
    model = trained.load(tmp_path / "run")
    assert model.contract.labels.names == TAG_SETS[data]
    clips = waveforms(4)
    patches = np.stack([patch(clip) for clip in clips])
    expected = pons_graphs.run_published(LIBRARY / source, name, patches)
    assert_every_layer_is_the_same(tmp_path / "run", clips, expected)
    arrays = tensorflow_checkpoint.read(LIBRARY / source)
    again, _ = pons_graphs.run(name, arrays, patches, data)
    np.testing.assert_allclose(again, expected[0], atol=1e-5)


@needs_library
@needs_audio
@pytest.mark.slow
def test_recordings_get_the_tags_of_the_librarys_graph(tmp_path):
    """Of which `predict` hears consecutive patches of 187 frames, the last one filled up."""
    convert(LIBRARY / "MTT_musicnn", tmp_path / "run")
    paths = sorted(AUDIO.glob("*.npy"))[:3]
    assert paths
    model, highest = trained.load(tmp_path / "run"), []
    for answer in Predictor(model).predict(Record(path.name, path) for path in paths):
        clip = np.load(answer.record.path)
        clips = np.pad(clip, (0, -len(clip) % SAMPLES)).reshape(-1, SAMPLES)
        patches = np.stack([patch(clip) for clip in clips])
        expected = pons_graphs.run_published(LIBRARY / "MTT_musicnn", "pons_musicnn", patches)[0]
        found = [answer.fields["probabilities"][name] for name in model.contract.labels.names]
        highest.append(max(found))
        np.testing.assert_allclose(found, expected.mean(axis=0), atol=2e-5)
    assert max(highest) > 0.5


def test_the_wide_one_is_known_by_its_arrays(tmp_path):
    arrays = pons_graphs.make("pons_musicnn", tmp_path / "big", channels=512, features=500)
    convert(tmp_path / "big", tmp_path / "run", dataset="msd")
    clips = waveforms(2)
    expected = pons_graphs.run("pons_musicnn", arrays, np.stack([patch(clip) for clip in clips]))
    assert_every_layer_is_the_same(tmp_path / "run", clips, expected)


def test_labels_are_those_that_it_was_trained_on(randomly, tmp_path):
    source, _ = randomly["pons_vgg"]
    (source / "config.json").write_text('{"audio_rep": {"identifier": "mtt"}}')
    found = published_pons.read(source)
    config = published_pons.published_config(found, None)
    assert tuple(config.data.labels) == TAG_SETS["mtat"]
    with pytest.raises(ValueError, match=r"was trained on mtat, .* leave --dataset out"):
        published_pons.published_config(found, "msd")
    unknown = published_pons.Source(found.path, found.arrays, {})
    with pytest.raises(ValueError, match="--dataset='' is none of gtzan"):
        published_pons.published_config(unknown, None)
    assert published_pons.published_config(unknown, "msd").data.labels == TAG_SETS["msd"]
    names = tmp_path / "names.txt"
    names.write_text("".join(f"tag {n}\n" for n in range(7)))
    with pytest.raises(ValueError, match="tells 50 tags, but 7 are named"):
        convert(source, tmp_path / "run", labels=names)


def test_what_is_no_such_network_is_refused(randomly, tmp_path, monkeypatch):
    source, arrays = randomly["pons_vgg"]
    with pytest.raises(FileNotFoundError, match="no checkpoint of TensorFlow here"):
        convert(tmp_path / "absent", tmp_path / "run")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / ".index").write_bytes(b"no index at all")
    with pytest.raises(ValueError, match="no checkpoint of TensorFlow, damaged"):
        convert(damaged, tmp_path / "run")
    (damaged / ".index").write_bytes((source / ".index").read_bytes())
    with pytest.raises(ValueError, match="without its data"):
        convert(damaged, tmp_path / "run")
    (damaged / "other.index").write_bytes(b"")
    with pytest.raises(ValueError, match=r"several checkpoints \(\.index, other\.index\)"):
        convert(damaged, tmp_path / "run")
    lacking = {name: x for name, x in arrays.items() if name != "3CNN/bias"}
    wrong = arrays | {"2CNN/kernel": arrays["2CNN/kernel"][:, :, :7]}
    (source / "config.json").unlink(missing_ok=True)
    for changed, message in (
        ({"weights": arrays["dense/bias"]}, "holds no network of the musicnn library"),
        (lacking, "lacks 3CNN/bias"),
        (wrong, "is no pons_vgg as published"),
    ):
        monkeypatch.setattr(tensorflow_checkpoint, "read", lambda path, changed=changed: changed)
        with pytest.raises(ValueError, match=message):
            convert(source, tmp_path / "run", dataset="mtat")
    assert not (tmp_path / "run").exists()


def test_the_command_converts_a_folder(randomly, tmp_path):
    source, _ = randomly["pons_vgg"]
    (source / "config.json").write_text('{"audio_rep": {"identifier": "mtt"}}')
    done = command("atbert_jax.convert", "pons", source, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())
    done = command("atbert_jax.convert", "pons", source, tmp_path / "other", "--dataset=msd")
    assert "leave --dataset out" in one_line(done)
    done = command("atbert_jax.convert", "pons", "run", tmp_path / "new", "--to_pytorch")
    assert "--to_pytorch" in one_line(done)
