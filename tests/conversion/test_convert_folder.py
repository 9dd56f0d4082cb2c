"""The command: what it writes, what it says, and what it refuses; and back from a run's folder."""

import io
import json

import numpy as np
import optax
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from atbert_jax.conversion import convert_folder as conversion
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models.keys import Keys
from atbert_jax.training import run_folder
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import fresh, split
from atbert_jax.weights import albert_rules, engine
from tests import pytorch, tiny
from tests.test_commands import one_line
from tests.test_commands import run as command

TEXTS = ["a slow sad piano", "a fast happy guitar", "steady drums"]


def run(family, source, folder, **options) -> str:
    """What is said on the way."""
    console = Console(file=io.StringIO(), width=conversion.TABLE_WIDTH)
    conversion.from_pytorch(family, str(source), folder, console=console, **options)
    return console.file.getvalue()


def test_an_albert_with_its_tokenizer(tmp_path):
    model = tokenization.train_sentencepiece(TEXTS, tmp_path / "albert" / "spiece.model", 60)
    tokenizer = tokenization.load_tokenizer(model)
    source = pytorch.save_albert(model.parent, vocabulary=len(tokenizer))
    result = command("atbert_jax.convert", "albert", source, tmp_path / "out")
    assert not result.returncode, result.stderr
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in row] for row in rows]
    projection = "encoder.embedding_hidden_mapping_in.weight"
    assert [projection, "16 x 8", "model/text_projection/kernel", "8 x 16"] in rows
    assert any("sop_classifier" in row[0] and "unused: the head" in row[2] for row in rows)
    assert f"--config.init.text={tmp_path / 'out'}" in result.stdout
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["source"] == str(source)
    converted = tokenization.load_tokenizer(tmp_path / "out")
    for expected, found in zip(
        tokenization.tokenize(tokenizer, TEXTS, 12),
        tokenization.tokenize(converted, TEXTS, 12),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_resnet_by_folder_or_file(tmp_path):
    source = pytorch.save(tmp_path / "net", pytorch.resnet((1, 1), 4, "torchvision"))
    run("resnet", source, tmp_path / "folder")
    said = run("resnet", source / "model.safetensors", tmp_path / "file")
    assert "--config.init.audio=" in said
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("folder", "file"))
    assert one.keys() == other.keys()
    # Strides are gone through: the bytes of a transposed array are not those of the array.
    kernel = load_file(source / "model.safetensors")["layer2.0.conv2.weight"]
    for arrays in (one, other):
        found = arrays["model/audio_cnn/blocks/1/conv/conv/kernel"]
        np.testing.assert_array_equal(found, kernel.transpose(2, 3, 1, 0))
    said = run("resnet", source, tmp_path / "random", stem="random")
    assert "starts new, by --stem=random" in said
    assert not any("stem" in n for n in load_file(tmp_path / "random" / "weights.safetensors"))


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    source = pytorch.save_albert(tmp_path / "albert")
    before = {path: path.read_bytes() for path in source.iterdir()}
    with pytest.raises(ValueError, match="albert: exists already; give a new folder"):
        run("albert", source, source)
    assert {path: path.read_bytes() for path in source.iterdir()} == before


def test_sources_that_cannot_be_read(tmp_path):
    def refused(source, family="albert"):
        with pytest.raises((ValueError, OSError)) as error:
            run(family, source, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return str(error.value)

    (tmp_path / "empty").mkdir()
    assert "neither model.safetensors nor pytorch_model.bin" in refused(tmp_path / "empty")
    for missing in ("./albert", "runs/albert/base", "model.safetensors", tmp_path / "albert"):
        assert "no such file or folder; check the path" in refused(missing)
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors at all")
    assert "bad.safetensors: not a safetensors file" in refused(tmp_path / "bad.safetensors")
    pickled = tmp_path / "pytorch_model.bin"
    pickled.write_bytes(b"anything")
    for source in (tmp_path, pickled):
        assert "pytorch_model.bin: not a state dict of tensors by name" in refused(source)
    alone = pytorch.save(tmp_path / "alone", pytorch.albert())
    assert "config.json: not there" in refused(alone)


def test_a_hub_name_is_downloaded_without_what_is_not_needed(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(pytorch.save_albert(tmp_path / "cache"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    run("albert", "albert/tiny", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["source"] == "albert/tiny"
    [(name, patterns)] = asked
    assert name == "albert/tiny"
    assert {"config.json", "model.safetensors", "spiece.model"} < set(patterns)
    assert not any(pattern.endswith(".bin") for pattern in patterns)


def test_a_hub_name_that_cannot_be_had(tmp_path, monkeypatch):
    import huggingface_hub

    def offline(name, **_):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(OSError, match=r"albert/none: .*not to be had from the hub \(no\); check"):
        run("albert", "albert/none", tmp_path / "out")


def test_wrong_arguments_are_one_line(tmp_path):
    assert "give a family" in one_line(command("atbert_jax.convert", "gpt", "a", tmp_path))
    line = one_line(command("atbert_jax.convert", "albert", tmp_path / "no", tmp_path / "out"))
    assert f"{tmp_path / 'no'}: no such file or folder" in line


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The folder of a run, without the training."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = tokenization.load_tokenizer(
        tokenization.train_sentencepiece(TEXTS, folder / "spiece.model", 60)
    )
    config = tiny.make_config(**{"objectives.correct_pair": 1.0})
    contract = tiny.make_contract(vocabulary=len(tokenizer))
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    _, params, statistics = split(learner)
    run_folder.save_run(folder, config, contract, tokenizer)
    checkpoints = Checkpoints(folder)
    checkpoints.save(fresh(params, statistics, optax.trace(0.9)), 0.0)
    checkpoints.close()
    return folder


@pytest.mark.parametrize(
    ("family", "parts"), [("albert", ("text_", "word_", "encoder")), ("resnet", ("audio_cnn",))]
)
def test_back_to_pytorch_and_here_again(workdir, tmp_path, family, parts):
    console = Console(file=io.StringIO(), width=conversion.TABLE_WIDTH)
    conversion.to_pytorch(family, workdir, tmp_path / "torch", console=console)
    assert "no part of " in console.file.getvalue()
    run(family, tmp_path / "torch", tmp_path / "again")
    trained = engine.flat(*Checkpoints(workdir).restore_arrays(0).values())
    wanted = {n: x for n, x in trained.items() if n.removeprefix("model/").startswith(parts)}
    assert len(wanted) > 20
    found = load_file(tmp_path / "again" / "weights.safetensors")
    assert found.keys() == {albert_rules.in_file(name) for name in wanted}
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[albert_rules.in_file(name)], array, err_msg=name)
    with pytest.raises(ValueError, match="exists already"):
        conversion.to_pytorch(family, workdir, workdir)


def test_the_config_for_transformers(workdir, tmp_path):
    conversion.to_pytorch("albert", workdir, tmp_path / "torch")
    found = json.loads((tmp_path / "torch" / "config.json").read_text())
    tokenizer = tokenization.load_tokenizer(tmp_path / "torch")
    changes = {
        "architectures": ["AlbertModel"],
        "num_hidden_layers": 1,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tiny.TOKENS,
        "type_vocab_size": 2,
    }
    assert found == pytorch.ALBERT_CONFIG | changes
