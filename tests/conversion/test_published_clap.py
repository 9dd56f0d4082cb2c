"""A converted CLAP gives the directions that transformers' gives, and what is refused.

The published weights are not distributed; sizes are theirs, or small with random arrays.
"""

import dataclasses
import importlib.util
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

import atbert_jax
from atbert_jax.conversion import convert_folder, published_clap
from atbert_jax.evaluation import stablehlo
from atbert_jax.training import sameness, trained
from atbert_jax.training.state import define
from atbert_jax.weights import clap_rules, engine
from atbert_jax.weights.files import Source
from tests import clap_folders
from tests.conversion.test_parity import in_pytorch
from tests.models import clap_sizes

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RATE = 48_000
TEXTS = ("slow piano", "loud drums", "a song, low", "", "s")
KINDS = pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
needs_pytorch = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
)
# Seconds: repeated three times and padded, whole, and longer.
SECONDS = (3.0, 10.0, 27.3)


def waveforms() -> list[np.ndarray]:
    """Real recordings where they are, else noise that swells; one of each length of `SECONDS`.

    A little noise is under them: bands that hold nothing, as those of what was recorded at 16 kHz,
    are 100 dB below the others, where an FFT in float32 is not one in float64.
    """
    import librosa

    files = sorted(SHARED.rglob("*.wav"))[:40] + sorted(SHARED.rglob("*.flac"))[:40]
    rng = np.random.default_rng(0)
    found = []
    for number, seconds in enumerate(SECONDS):
        count = round(seconds * RATE)
        sound = 0.1 * rng.normal(size=count) * np.linspace(0, 1, count)
        if files:
            parts, place = [], number
            while sum(map(len, parts)) < count:
                parts.append(librosa.load(files[place % len(files)], sr=RATE)[0])
                place += len(SECONDS)
            sound = np.concatenate(parts)[:count]
        sound = sound + 3e-4 * rng.normal(size=count)
        found.append(sound.astype(np.float32))
    return found


def write(folder: str, fused: bool, texts: tuple[str, ...]) -> None:
    """A small ClapModel with all its files, and the features of the clips of `clips.npz`."""
    import torch
    from transformers import ClapFeatureExtractor, RobertaTokenizer

    model = clap_sizes.pytorch_model(fused)
    model.save_pretrained(folder)
    clap_folders.describe(Path(folder), fused)
    extractor = ClapFeatureExtractor.from_pretrained(folder)
    np.random.choice = lambda places: places[len(places) // 2]
    tokenizer = RobertaTokenizer.from_pretrained(folder)
    features = []
    with torch.no_grad():
        for clip in np.load(f"{folder}/clips.npz").values():
            # Without fusion a long clip is the mean of its parts here, by lot one part there.
            step = len(clip) if fused else 10 * RATE
            vectors = []
            for start in range(0, len(clip), step):
                part = clip[start : start + step]
                mel, longer = extractor._get_input_mel(
                    part, 10 * RATE, extractor.truncation, extractor.padding
                )
                given = {
                    "input_features": torch.tensor(mel, dtype=torch.float32)[None],
                    "is_longer": torch.tensor([[longer and fused]]),
                }
                vectors.append(model.get_audio_features(**given).pooler_output[0].numpy())
            features.append(np.mean(vectors, axis=0))
        read = tokenizer(list(texts), padding=True, return_tensors="pt")
        text = model.get_text_features(**read).pooler_output.numpy()
    scale = float(model.logit_scale_a.detach().exp())
    np.savez(f"{folder}/features.npz", audio=features, text=text, scale=scale)


def read_back(folder: str, source: str) -> None:
    """Checks that a folder holds the model of `source`, and what reads and hears for it."""
    import torch
    from safetensors.torch import load_file
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

    expected = ClapModel.from_pretrained(source).eval()
    model = ClapModel(ClapConfig.from_pretrained(folder)).eval()
    model.load_state_dict(load_file(f"{folder}/model.safetensors"), strict=True)
    states = expected.state_dict()
    for name, array in model.state_dict().items():
        others = ("embeddings.position", "embeddings.token_type", "logit_scale_t", "_tracked")
        assert any(part in name for part in others) or torch.equal(array, states[name]), name
    read = RobertaTokenizer.from_pretrained(folder)(["slow piano", "s"], padding=True)
    given = {name: torch.tensor(ids) for name, ids in read.items()}
    with torch.no_grad():
        text, found = (each.get_text_features(**given).pooler_output for each in (expected, model))
    torch.testing.assert_close(found, text, rtol=0, atol=1e-6)
    extractors = map(ClapFeatureExtractor.from_pretrained, (source, folder))
    there, here = (each.to_dict() for each in extractors)
    assert {name: here[name] for name in there} == there


@pytest.mark.parity
@needs_pytorch
@KINDS
def test_directions_are_those_of_transformers(tmp_path: Path, fused: bool):
    source, folder = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    clips, texts = waveforms(), tuple(text for text in TEXTS if text)
    np.savez(source / "clips.npz", *clips)
    in_pytorch(write, source, fused, texts)
    expected = np.load(source / "features.npz")
    said = clap_folders.convert(source, folder)
    assert "logit_scale_t" in said
    model = atbert_jax.load(folder)
    audio = expected["audio"] / np.linalg.norm(expected["audio"], axis=1, keepdims=True)
    assert np.ptp(audio, axis=0).max() > 0.05
    assert np.ptp(expected["text"], axis=0).max() > 0.1
    found = model.embed_audio(clips, sample_rate=RATE)
    np.testing.assert_allclose(found, audio, atol=1e-4)
    np.testing.assert_allclose(model.embed_text(list(texts)), expected["text"], atol=1e-5)
    cosines = audio @ expected["text"].T
    similarity = model.similarity(clips, list(texts), sample_rate=RATE)
    np.testing.assert_allclose(similarity, cosines, atol=1e-4)
    answer = model.zero_shot(clips[0], list(texts), sample_rate=RATE)[0]
    exponents = np.exp(expected["scale"] * cosines[0])
    for text, share in zip(texts, exponents / exponents.sum(), strict=True):
        assert answer[text] == pytest.approx(share, abs=1e-3)
    convert_folder.to_pytorch("clap", folder, tmp_path / "back")
    in_pytorch(read_back, tmp_path / "back", str(source))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[bool, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {fused: clap_folders.random_folder(root / str(fused), fused) for fused in (False, True)}


@KINDS
def test_a_run_embeds_what_it_is_given(sources, tmp_path: Path, fused: bool):
    said = clap_folders.convert(sources[fused], tmp_path / "run")
    assert "row 0 is added into the positions" in said
    model = atbert_jax.load(tmp_path / "run")
    clip = np.sin(np.arange(RATE) * 0.05).astype(np.float32)
    vector = model.embed_audio(clip, sample_rate=RATE)
    assert vector.shape == (1, clap_sizes.EAR["projection"])
    # A clip that fits in a whole number of times is the same as often as it fits.
    again = model.embed_audio(np.tile(clip, 5), sample_rate=RATE)
    np.testing.assert_allclose(vector, again, atol=1e-5)
    answer = model.zero_shot(clip, ["slow", "loud"], sample_rate=RATE)[0]
    assert sum(answer.values()) == pytest.approx(1)


@KINDS
def test_there_and_back_is_the_same_to_the_bit(sources, tmp_path: Path, fused: bool):
    clap_folders.convert(sources[fused], tmp_path / "run")
    console = Console(file=io.StringIO(), width=180)
    convert_folder.to_pytorch("clap", tmp_path / "run", tmp_path / "back", console=console)
    assert "none: made anew" in console.file.getvalue()
    there, back = (
        load_file(folder / "model.safetensors") for folder in (sources[fused], tmp_path / "back")
    )
    positions, types = there.pop(clap_rules.POSITIONS), there.pop(clap_rules.TYPES)
    for name, array in there.items():
        # Maps of fusion are convolutions of one place there.
        np.testing.assert_array_equal(back[name].reshape(array.shape), array, err_msg=name)
    # What is before the first position has no use, nor what is behind the longest text.
    rows = slice(2, len(back[clap_rules.POSITIONS]))
    np.testing.assert_array_equal(back[clap_rules.POSITIONS][rows], positions[rows] + types[0])
    assert not back[clap_rules.TYPES].any()
    assert {name.rpartition(".")[2] for name in back.keys() - there.keys()} == {
        "weight",  # of positions and token types
        "position_ids",
        "token_type_ids",
        "relative_position_index",
        "num_batches_tracked",
        "logit_scale_t",
    }
    told = json.loads((tmp_path / "back" / "preprocessor_config.json").read_text())
    expected = clap_folders.front_end(fused)
    assert {name: told[name] for name in expected} == expected
    about = json.loads((tmp_path / "back" / "config.json").read_text())
    source = Source(tmp_path / "back" / "model.safetensors", back, about)
    again = published_clap.published_config(source, "again")
    kept = ("model", "clap", "spectrogram", "segmenting")
    first = trained.load(tmp_path / "run").config
    for name in kept:
        assert sameness.fields(again[name]) == sameness.fields(first[name]), name


def test_what_transformers_cannot_hear_is_not_written(sources, tmp_path: Path):
    clap_folders.convert(sources[False], tmp_path / "run")
    model = trained.load(tmp_path / "run")
    spectrogram = dataclasses.replace(model.contract.spectrogram, mel_scale="htk")
    contract = dataclasses.replace(model.contract, spectrogram=spectrogram)
    with pytest.raises(ValueError, match="mel_scale='htk' instead of 'slaney'"):
        published_clap.front_end(dataclasses.replace(model, contract=contract))
    segmenting = dataclasses.replace(model.contract.segmenting, segments=4)
    contract = dataclasses.replace(model.contract, segmenting=segmenting)
    with pytest.raises(ValueError, match="segments=4 instead of 1"):
        published_clap.front_end(dataclasses.replace(model, contract=contract))


@KINDS
def test_a_run_is_exported_like_any_other(sources, tmp_path: Path, fused: bool):
    clap_folders.convert(sources[fused], tmp_path / "run")
    model = trained.load(tmp_path / "run")
    program = stablehlo.export_program(model, ["cpu"])
    inputs = stablehlo.describe(model, program)["inputs"]
    given = {
        name: np.zeros((1, *each["shape"][1:]), each["dtype"]) for name, each in inputs.items()
    }
    clip = np.sin(np.arange(RATE) * 0.05).astype(np.float32)
    given["waveform"][0, 0, :RATE], given["samples"][0, 0] = clip, RATE
    [found] = program.call(given)["embedding/audio"]
    [expected] = atbert_jax.load(tmp_path / "run").embed_audio(clip, sample_rate=RATE)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def changed(source: Path, folder: Path, file: str, **changes: object) -> Path:
    """A copy with other fields in a file of JSON; names with dots are of its parts."""
    shutil.copytree(source, folder)
    path = folder / file
    told = json.loads(path.read_text())
    for name, value in changes.items():
        part, _, field = name.rpartition("__")
        (told[part] if part else told)[field] = value
    path.write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"model_type": "bert"}, "not that of a CLAP"),
        ("config.json", {"audio_config__window_size": 7}, "audio_config.window_size is 7"),
        ("config.json", {"audio_config__enable_fusion": True}, "truncation is 'rand_trunc'"),
        ("config.json", {"projection_hidden_act": "gelu"}, "projection_hidden_act is 'gelu'"),
        ("config.json", {"projection_dim": 7}, "not as its config.json says"),
        ("config.json", {"text_config__layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05"),
        ("config.json", {"text_config__vocab_size": 30}, "the tokenizer has 40 pieces"),
        ("preprocessor_config.json", {"padding": "pad"}, "padding is 'pad'"),
        ("preprocessor_config.json", {"top_db": 80}, "top_db is 80"),
    ],
)
def test_what_this_model_cannot_be_is_refused(sources, tmp_path: Path, file, changes, message):
    source = changed(sources[False], tmp_path / "source", file, **changes)
    with pytest.raises(ValueError, match=message):
        clap_folders.convert(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", ["tokenizer.json", "preprocessor_config.json"])
def test_a_file_that_is_missing_is_named(sources, tmp_path: Path, file: str):
    source = shutil.copytree(sources[False], tmp_path / "source")
    (source / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        clap_folders.convert(source, tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "less", "message"),
    [
        ({}, "text_model.pooler.dense.bias", "lacks text_model.pooler.dense.bias"),
        ({"new.weight": np.ones(3, np.float32)}, "", "no rule for new.weight"),
    ],
)
def test_an_array_that_is_missing_or_unknown_is_named(sources, tmp_path: Path, more, less, message):
    source = shutil.copytree(sources[False], tmp_path / "source")
    arrays = load_file(source / "model.safetensors") | more
    arrays.pop(less, None)
    save_file(arrays, source / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        clap_folders.convert(source, tmp_path / "run")


# Of the published sizes: what `config.json` says beside the defaults, and the number of parameters
# that `ClapModel` has by itself.
PUBLISHED = {
    "clap-htsat-unfused": ({}, 153_492_890),
    "clap-htsat-fused": ({"enable_fusion": True, "fusion_type": "aff_2d"}, 153_507_530),
    "larger_clap_music": (
        {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024},
        193_913_882,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_theirs(tmp_path: Path, name: str):
    ear, count = PUBLISHED[name]
    clap_folders.describe(tmp_path, "fused" in name and "unfused" not in name)
    source = Source(tmp_path / "model.safetensors", {}, {"model_type": "clap", "audio_config": ear})
    config = published_clap.published_config(source, name)
    contract = dataclasses.replace(
        clap_sizes.contract(config.clap.fused), max_tokens=77, vocabulary=50_265
    )
    _, params, _ = define(config, contract)
    found = sum(leaf.size for leaf in engine.flat(params).values())
    # Without the second temperature, one token type, and positions before the first and after 77.
    assert found == count - 1 - 768 - (514 - 77) * 768
