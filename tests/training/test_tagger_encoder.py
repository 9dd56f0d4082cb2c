"""ATBERT whose audio front end is a tagger that was trained before."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.training import converted, loop, published, trained
from atbert_jax.training.checkpoint import FOLDER, CheckpointError, Checkpoints
from atbert_jax.weights import engine
from tests import ear, tiny, tones

RUN = {
    "data.task": "multi_label",
    "data.label_column": "label",
    "segmenting.segments": 1,
    "train.steps": 2,
    "train.batch_size": 4,
    "train.evaluate_every": 2,
    "evaluation.batch_size": 4,
    "optimizer.warmup_steps": 1,
}
ATBERT = {
    **tiny.MODEL,
    **RUN,
    "model.name": "atbert",
    "model.audio_encoder": "ear",
    "classification.pooling": "summary",
    "segmenting.segments": 3,
}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    ear.install(monkeypatch)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory) -> Path:
    """The run of a tagger, which nothing here changes."""
    folder = tmp_path_factory.mktemp("tagger")
    config = tones.make_config(tones.write_manifest(folder), **ear.CONFIG | RUN)
    with pytest.MonkeyPatch.context() as patch:
        ear.install(patch)
        loop.train(config, folder / "tagger", Console(file=io.StringIO()))
    return folder / "tagger"


def start(config, workdir: Path) -> tuple[dict, str]:
    """Arrays before the first step, and what was said."""
    console = Console(file=io.StringIO(), width=400)
    state = tiny.start(config, workdir, console)
    return engine.flat(state.params, state.statistics), console.file.getvalue()


def test_atbert_starts_with_the_network_of_a_run(tagger, tone_manifest, tone_config, tmp_path):
    """And can keep it as it is: its head and its length of input do not matter."""
    config = tone_config(tone_manifest(), **ear.CONFIG | ATBERT)
    config.init.audio = str(tagger)
    config.optimizer.frozen = ("^model/audio_cnn/",)
    found, said = start(config, tmp_path / "atbert")
    assert f"from {tagger}, step 2: 11 arrays taken over" in said
    trees = Checkpoints(tagger).restore_arrays(2)
    given = engine.flat(trees["params"], trees["statistics"])
    heard = {name: x for name, x in found.items() if name.startswith("model/audio_cnn/")}
    assert len(heard) == 11
    for name, value in heard.items():
        source = name.replace("model/audio_cnn/", "model/network/")
        np.testing.assert_array_equal(value, given[source], err_msg=name)
    # It trains, and everything but the ears changes.
    loop.train(config, tmp_path / "atbert", Console(file=io.StringIO()))
    trees = Checkpoints(tmp_path / "atbert").restore_arrays(2)
    after = engine.flat(trees["params"], trees["statistics"])
    for name, value in heard.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    moved = "model/audio_projection/kernel"
    assert np.abs(after[moved] - found[moved]).max() > 0


def test_what_was_given_away_is_heard_with_as_its_run(tagger, tone_manifest, tone_config, tmp_path):
    """And stays as it is; a folder that was opened as a run's is still none."""
    given = tmp_path / "given"
    trained.load(tagger).save(given)
    config, found = tone_config(tone_manifest(), **ear.CONFIG | ATBERT), []
    for folder in (tagger, given):
        config.init.audio = str(folder)
        arrays, said = start(config, tmp_path / f"from {folder.name}")
        assert f"from {folder}, step 2: 11 arrays taken over" in said
        found.append({n: x for n, x in arrays.items() if n.startswith("model/audio_cnn/")})
    for name, value in found[0].items():
        np.testing.assert_array_equal(found[1][name], value, err_msg=name)
    assert not (given / FOLDER).exists()
    (given / FOLDER).mkdir()
    assert published.is_one(given)
    (given / FOLDER / "2").mkdir()
    assert not published.is_one(given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.audio_encoder": "fcn"},
            r"is a run of ear, but config.model.audio_encoder='fcn'; .*audio_encoder=ear$",
        ),
        (
            {"spectrogram.n_mels": 12, "spectrogram.hop_length": 100},
            r"heard with another front end \(hop_length: 128 -> 100; n_mels: 16 -> 12\); set these",
        ),
        ({"init_from": "elsewhere"}, r"config.init_from='elsewhere' both bring a trunk"),
        ({"model.audio_encoder": "resnet"}, r"tagger: no conversion.json here; make this folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_audio_is_read(tagger, changes, message):
    names = {"init.audio": str(tagger), "spectrogram.sample_rate": 8000, "spectrogram.n_fft": 256}
    names |= {"spectrogram.hop_length": 128, "spectrogram.n_mels": 16}
    config = tiny.make_config(**ear.CONFIG | ATBERT | names | changes)
    with pytest.raises(ValueError, match=message):
        converted.find(config)


def test_a_folder_that_is_no_run_is_refused():
    config = tiny.make_config(**ear.CONFIG | ATBERT | {"init.audio": "nowhere"})
    with pytest.raises(CheckpointError, match=r"nowhere: no config\.json here"):
        converted.find(config)
