"""Taggers: a state dict becomes a run's folder and comes back, and what does not fit is refused."""

import io
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from atbert_jax.configs import tagger as tagger_config
from atbert_jax.conversion import convert_folder as conversion
from atbert_jax.conversion import published_tagger
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.text.tokenization import tokenizer_without_text
from atbert_jax.training import trained, transfer
from atbert_jax.training.state import define, fresh
from atbert_jax.weights import engine
from atbert_jax.weights.tagger_rules import RULES
from tests.commands import one_line
from tests.commands import run as command


def state_dict(name: str, data: str = "mtat", **changes: object) -> dict[str, np.ndarray]:
    """Random arrays in PyTorch's names, with what has no rule; `changes` are fields of `tagger`."""
    config = tagger_config.get_config(f"{name},{data}")
    config.tagger.update(changes)
    labels = Labels("multi_label", tuple(config.data.labels))
    contract = make_contract(config, tokenizer_without_text(), labels)
    shapes, rng = engine.flat(*define(config, contract)[1:]), np.random.default_rng(0)
    arrays = {path: rng.uniform(0.1, 1, x.shape).astype(np.float32) for path, x in shapes.items()}
    found, _, left = engine.to_theirs(name, RULES[name](), arrays, "unused")
    assert not left
    counts = {
        f"{each.removesuffix('.running_var')}.num_batches_tracked": np.array(7)
        for each in found
        if each.endswith(".running_var")
    }
    found |= counts
    if published_tagger.FILTER_BANK in found:
        found[published_tagger.WINDOW] = contract.spectrogram.window.astype(np.float32)
    return {each: np.ascontiguousarray(array) for each, array in found.items()}


@pytest.fixture
def convert(tmp_path):
    """Converts arrays; returns what is said, and the folder."""

    def run(arrays, model, dataset="mtat", labels=None):
        path, console = tmp_path / "weights.safetensors", Console(file=io.StringIO(), width=180)
        save_file(arrays, path)
        conversion.tagger_from_pytorch(
            str(path),
            tmp_path / "run",
            model=model,
            dataset=dataset,
            labels=labels,
            console=console,
        )
        return console.file.getvalue(), tmp_path / "run"

    return run


# The parity tests take every network both ways; these are the kinds of front ends and layers.
@pytest.mark.parametrize("name", ["crnn", "harmonic_cnn", "music_transformer", "sample_cnn"])
def test_there_and_back_is_the_same_to_the_bit(convert, tmp_path, name):
    arrays = state_dict(name)
    said, folder = convert(arrays, name)
    assert "unused: a count of steps" in said
    assert ("unused: a Hann window" in said) == (published_tagger.WINDOW in arrays)
    assert f"--config.init_from={folder}" in said
    model = trained.load(folder)
    assert model.step == 0
    assert model.contract.labels == Labels("multi_label", TAG_SETS["mtat"])
    console = Console(file=io.StringIO(), width=180)
    conversion.to_pytorch("tagger", folder, tmp_path / "back", console=console)
    said = console.file.getvalue()
    assert ("none: a Hann window, made anew" in said) == (published_tagger.WINDOW in arrays)
    back = load_file(tmp_path / "back" / "model.safetensors")
    kept = {each: x for each, x in arrays.items() if not each.endswith("num_batches_tracked")}
    assert back.keys() == kept.keys()
    for each, array in kept.items():
        np.testing.assert_array_equal(back[each], array, err_msg=each)


def test_what_weight_decay_left_becomes_0(convert):
    arrays = state_dict("fcn")
    arrays["layer3.conv.weight"][:] = 1e-40
    arrays["layer3.conv.weight"][0] = -2e-30
    _, folder = convert(arrays, "fcn")
    kernel = trained.load(folder).params["model"]["network"]["layers"][2]["conv"]["kernel"]
    assert set(np.unique(kernel)) == {np.float32(-2e-30), 0}


def test_training_starts_from_the_folder(convert):
    arrays = state_dict("crnn")
    _, folder = convert(arrays, "crnn")
    model = trained.load(folder)
    params, statistics = jax.tree.map(np.zeros_like, (model.params, model.statistics))
    params, statistics = jax.tree.map(jax.numpy.asarray, (params, statistics))
    state, _, lines = transfer.start_from(fresh(params, statistics, optax.identity()), folder)
    assert len(lines) == 1  # nothing starts anew, and nothing is left
    np.testing.assert_array_equal(
        state.params["objectives"]["classification"]["output"]["kernel"], arrays["dense.weight"].T
    )


def test_a_student_has_its_own_width_and_the_labels_of_a_file(convert, tmp_path):
    """And no teacher; the names that its training gave to all arrays are cut."""
    arrays = state_dict("music_transformer", "msd", attention=64)
    arrays = {f"network.{name}": array for name, array in arrays.items()}
    arrays["teacher_network.cls_token"] = np.ones((1, 1, 256), np.float32)
    with pytest.raises(ValueError, match=r"tells 50 tags of a split .* give its own with --labels"):
        convert(arrays, "music_transformer", "msd")
    labels = tmp_path / "tags.txt"
    labels.write_text("\n".join(f"tag {number}" for number in range(50)) + "\n")
    said, folder = convert(arrays, "music_transformer", None, labels)
    assert "unused: the teacher of this student" in said
    assert "--config.tagger.attention=64" in " ".join(said.split())
    model = trained.load(folder)
    assert sum(x.size for x in jax.tree.leaves(model.params)) == 1_108_852
    assert model.contract.labels.names[:2] == ("tag 0", "tag 1")
    with pytest.raises(ValueError, match=r"tells 50 tags, but the data set has 2; .* --labels"):
        published_tagger.from_pytorch(
            SimpleNamespace(path="file", arrays=arrays),
            published_tagger.published_config("music_transformer", None, ["one", "two"]),
            SimpleNamespace(labels=SimpleNamespace(names=("one", "two"))),
        )


def test_a_file_of_another_network_says_which(convert, tmp_path):
    arrays = state_dict("fcn")
    with pytest.raises(ValueError, match=r"holds no crnn: .* those of fcn; set --model=fcn"):
        convert(arrays, "crnn")
    del arrays["dense.bias"]
    with pytest.raises(ValueError, match=r"weights\.safetensors lacks dense\.bias"):
        convert(arrays, "fcn")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("gtzan", "tells 50 tags, but the data set has 10; give the --dataset"),
        ("msd", r"no musicnn as published for this data set: .*\(1506, 200\) instead of \(4194, 5"),
    ],
)
def test_sizes_of_another_data_set_are_refused(convert, tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        convert(state_dict("musicnn"), "musicnn", data)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_family_is_refused():
    config = tagger_config.get_config("fcn")
    config.model.name = "atbert"
    model = SimpleNamespace(workdir="runs/pretrain", config=config, contract=None)
    with pytest.raises(ValueError, match="runs/pretrain: model='atbert' is none of fcn, "):
        published_tagger.to_pytorch(model)


def test_what_the_file_does_not_tell_is_asked_for(tmp_path):
    line = one_line(command("atbert_jax.convert", "tagger", "fcn.pth", tmp_path / "run"))
    assert "--model='' is none of crnn, fcn, harmonic_cnn" in line
    assert all(name in line for name in RULES)
    with pytest.raises(
        ValueError,
        match=r"--dataset='gtz' is none of gtzan, jamendo, msd, mtat; did you mean 'gtzan'",
    ):
        published_tagger.published_config("fcn", "gtz")


def test_a_folder_that_is_there_is_left_alone(convert, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="run: exists already; give a new folder"):
        convert(state_dict("fcn"), "fcn")
