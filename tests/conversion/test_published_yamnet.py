"""YAMNet: what TensorFlow Lite computes with random and published weights, and what is refused.

The published file is not distributed; what is made of it is only tested where it is.
"""

import csv
import io
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from atbert_jax.conversion import convert_folder, published_yamnet
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.training import trained
from atbert_jax.weights import tflite_file
from tests import tflite_yamnet
from tests.commands import one_line
from tests.commands import run as command

SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"
PUBLISHED = SHARED / "yamnet" / "yamnet.tflite"
needs_weights = pytest.mark.skipif(
    not PUBLISHED.is_file(), reason=f"no {PUBLISHED}: it is not distributed"
)


def convert(source: Path, folder: Path) -> str:
    """Converts, and returns what is said."""
    console = Console(file=io.StringIO(), width=180)
    convert_folder.yamnet_from_tflite(source, folder, console=console)
    return console.file.getvalue()


def write_names(folder: Path, count: int) -> Path:
    path = folder / published_yamnet.CLASS_MAP
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["index", "mid", "display_name"])
        table.writerows([n, f"/m/{n}", f"sound {n}, and others"] for n in range(count))
    return path


@pytest.fixture(scope="module")
def random_file(tmp_path_factory) -> Path:
    """Of a network with random weights, and its class map beside it."""
    path = tmp_path_factory.mktemp("random") / "yamnet.tflite"
    path.write_bytes(tflite_yamnet.make())
    write_names(path.parent, tflite_yamnet.SOUNDS)
    return path


def waveforms(count: int) -> np.ndarray:
    """Tones that rise, with noise, quieter and quieter; the last one is silence: (N, samples)."""
    time = np.arange(tflite_yamnet.SAMPLES) / 16_000
    rng = np.random.default_rng(0)
    tones = [np.sin(2 * np.pi * 200 * (n + 1) * (1 + time) * time) for n in range(count)]
    noise = 0.1 * rng.uniform(-1, 1, (count, len(time)))
    loudness = np.append(np.geomspace(0.9, 0.01, count - 1), 0.0)
    return (loudness[:, None] * (np.stack(tones) + noise) / 1.1).astype(np.float32)


def assert_every_layer_is_the_same(source: Path, folder: Path, clips: np.ndarray) -> None:
    """Log-mels, the output of every layer, and probabilities, to 1e-4."""
    expected, inner = tflite_yamnet.run(tflite_yamnet.in_float(source), clips)
    model = trained.load(folder)

    learner = model.learner
    network = learner.model.network
    layers = jax.jit(lambda x: [network.frontend(x, None), *network.pictures(x, None, None)])(clips)
    assert len(layers) == len(inner) == 15
    for number, (found, theirs) in enumerate(zip(layers, inner, strict=True)):
        found = np.asarray(found)
        found = found[..., 0] if number == 0 else found
        size = max(1.0, np.abs(theirs).max())
        assert theirs.std(axis=0).max() > 0.01
        np.testing.assert_allclose(
            np.swapaxes(found, 1, 2) / size, theirs / size, atol=1e-4, err_msg=f"layer {number}"
        )
    batch = {"waveform": clips[:, None], "segment_mask": np.ones((len(clips), 1), np.float32)}
    found = jax.jit(lambda batch: learner.predict(batch)["classification"]["audio"])(batch)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_random_weights_give_what_tensorflow_lite_gives(random_file, tmp_path):
    said = convert(random_file, tmp_path / "run")
    assert "conv_2d_13.weight" in said
    assert "unused: shapes and places" in said
    assert_every_layer_is_the_same(random_file, tmp_path / "run", waveforms(4))
    contract = trained.load(tmp_path / "run").contract
    assert contract.spectrogram.sample_rate == 16_000
    assert contract.labels.task == "multi_label"
    assert contract.labels.names[3] == "sound 3, and others"


@needs_weights
@pytest.mark.slow
def test_published_weights_give_what_tensorflow_lite_gives(tmp_path):
    """On recordings, of which `predict` hears a patch of 0.975 seconds every 0.48."""
    convert(PUBLISHED, tmp_path / "run")
    paths = sorted((SHARED / "audio16k").glob("*.npy"))[:3]
    assert paths
    hop, samples = 7680, tflite_yamnet.SAMPLES
    model = trained.load(tmp_path / "run")
    names = model.contract.labels.names
    assert names[:2] == ("Speech", "Child speech, kid speaking")
    assert len(names) == 521
    content = tflite_yamnet.in_float(PUBLISHED)
    for answer in Predictor(model).predict(Record(path.name, path) for path in paths):
        clip = np.load(answer.record.path)
        patches = -(-max(0, len(clip) - samples) // hop) + 1
        clip = np.pad(clip, (0, (patches - 1) * hop + samples - len(clip)))
        clips = np.stack([clip[n * hop :][:samples] for n in range(patches)])
        expected = tflite_yamnet.run(content, clips)[0].mean(axis=0)
        assert expected.max() > 0.3
        found = [answer.fields["probabilities"][name] for name in names]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert_every_layer_is_the_same(PUBLISHED, tmp_path / "run", clips[:4])


def test_what_is_no_yamnet_is_refused(random_file, tmp_path):
    other = tmp_path / "other.tflite"
    write_names(tmp_path, tflite_yamnet.SOUNDS)
    other.write_bytes(b"no model at all")
    with pytest.raises(ValueError, match="not a file of TensorFlow Lite"):
        convert(other, tmp_path / "run")
    other.write_bytes(random_file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged or cut short"):
        convert(other, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="no such file"):
        convert(tmp_path / "absent.tflite", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mul_0.input_1", 1.1, "another window"),
        ("fully_connected_0.bias", 2.0, "adds 0.002 before the logarithm"),
        ("conv_2d_5.bias", None, "lacks conv_2d_5.bias"),
    ],
)
def test_a_network_that_hears_otherwise_is_refused(
    random_file, tmp_path, monkeypatch, name, change, message
):
    arrays = tflite_file.read(random_file)
    arrays |= {name: arrays[name] * (change or 1)}
    if change is None:
        del arrays[name]
    monkeypatch.setattr(tflite_file, "read", lambda path: arrays)
    with pytest.raises(ValueError, match=message):
        convert(random_file, tmp_path / "run")


def test_labels_must_be_those_of_the_file(random_file, tmp_path):
    names = write_names(tmp_path, 7)
    config = published_yamnet.published_config(random_file, names)
    assert len(config.data.labels) == 7
    console = Console(file=io.StringIO())
    with pytest.raises(ValueError, match="tells 521 sounds, but 7 are named"):
        convert_folder.yamnet_from_tflite(
            random_file, tmp_path / "run", labels=names, console=console
        )
    names.write_text("index,name\n0,Speech\n")
    with pytest.raises(ValueError, match="no column 'display_name'"):
        published_yamnet.read_class_map(names)
    names.write_text("display_name\nSpeech\nSpeech\n")
    with pytest.raises(ValueError, match="twice"):
        published_yamnet.read_class_map(names)
    with pytest.raises(FileNotFoundError, match="--labels=FILE"):
        published_yamnet.read_class_map(tmp_path / "absent.csv")
    lines = tmp_path / "names.txt"
    lines.write_text("Speech\nMusic\n")
    assert published_yamnet.read_class_map(lines) == ("Speech", "Music")


def test_there_is_no_way_back_to_pytorch(tmp_path):
    done = command("atbert_jax.convert", "yamnet", "run", tmp_path / "new", "--to_pytorch")
    assert "--to_pytorch" in one_line(done)
