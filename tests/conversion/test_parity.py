"""Converted text encoders compute what PyTorch's do, and PyTorch's what ours do.

PyTorch runs in processes of its own: its compiler and TensorFlow crash when loaded together.
"""

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, traverse_util
from safetensors.numpy import load_file

from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models.bert import BERT
from atbert_jax.models.keys import Keys
from atbert_jax.training import converted, run_folder
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import fresh, split
from atbert_jax.weights import albert_rules, bert_rules, files
from tests import tiny

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
    ),
]

SIZES = {
    "tiny": {"hidden": 16, "heads": 2, "layers": 2, "ffn": 32, "embedding": 8},
    "base": {"hidden": 768, "heads": 12, "layers": 12, "ffn": 3072, "embedding": 128},
}
LENGTHS = (13, 7, 2)


def command(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


def in_pytorch(function: Callable, *arguments: object) -> None:
    plain = tuple(str(each) if isinstance(each, Path) else each for each in arguments)
    command("-c", f"import {function.__module__} as t; t.{function.__name__}{plain!r}")


def tokens(vocabulary: int) -> dict[str, np.ndarray]:
    """Texts of three lengths, padded."""
    ids = np.random.default_rng(0).integers(5, vocabulary, (len(LENGTHS), max(LENGTHS)))
    mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    return {"token_ids": ids.astype(np.int32), "token_mask": mask.astype(np.float32)}


def write_albert(folder: str, size: str, vocabulary: int, activation: str, suffix: str) -> None:
    """An ALBERT of random arrays, none of them 0 as fresh biases are, with what it computes."""
    import torch
    from transformers import AlbertConfig, AlbertForPreTraining

    torch.manual_seed(0)
    sizes = SIZES[size]
    config = AlbertConfig(
        vocab_size=vocabulary,
        embedding_size=sizes["embedding"],
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["ffn"],
        hidden_act=activation,
    )
    model = AlbertForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    if suffix == ".bin":
        config.save_pretrained(folder)
        torch.save(model.state_dict(), Path(folder, "pytorch_model.bin"))
    else:
        model.save_pretrained(folder)
    run_albert(model.albert, f"{folder}/outputs.npz", model.predictions)


def write_bert(folder: str, size: str, suffix: str) -> None:
    """A BERT of random arrays with what each of its layers computes, and its head."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    sizes = SIZES[size]
    config = BertConfig(
        vocab_size=50,
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["ffn"],
    )
    model = BertForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    if suffix == ".bin":
        config.save_pretrained(folder)
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        arrays = model.state_dict()
        for new, gone in old.items():
            arrays = {name.replace(new, gone): array for name, array in arrays.items()}
        torch.save(arrays, Path(folder, "pytorch_model.bin"))
    else:
        model.save_pretrained(folder)
    run_bert(model.bert, f"{folder}/outputs.npz", model.cls.predictions)


def run_bert(model, output: str, head=None) -> None:
    """Writes the hidden states of all layers, and the logits of the head where it is given."""
    import torch

    batch = tokens(model.config.vocab_size)
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor(batch["token_ids"]),
            attention_mask=torch.tensor(batch["token_mask"]),
            output_hidden_states=True,
        )
        logits = {"logits": head(found.last_hidden_state)} if head else {}
        np.savez(output, hidden=torch.stack(found.hidden_states), **logits)


def load_bert(folder: str) -> None:
    """Loads what we wrote as transformers do, and writes what it computes."""
    from transformers import BertForMaskedLM

    found, said = BertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not any(said[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched")), said
    run_bert(found.bert, f"{folder}/outputs.npz", found.cls.predictions)


def run_albert(model, output: str, head=None) -> None:
    """Writes the hidden states, and the logits of the head where it is given."""
    import torch

    batch = tokens(model.config.vocab_size)
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor(batch["token_ids"]),
            attention_mask=torch.tensor(batch["token_mask"]),
        ).last_hidden_state
        np.savez(output, hidden=found, **({"logits": head(found)} if head else {}))


def load_albert(folder: str, model: str, missing: list[str]) -> None:
    """Loads what we wrote as transformers do, and writes what it computes."""
    import transformers

    found, said = getattr(transformers, model).from_pretrained(folder, output_loading_info=True)
    assert sorted(said["missing_keys"]) == missing, said
    assert not said["unexpected_keys"], said
    assert not said["mismatched_keys"], said
    parts = (found.albert, found.predictions) if hasattr(found, "albert") else (found, None)
    run_albert(parts[0], f"{folder}/outputs.npz", parts[1])


def make_config(**changes: object):
    fields = {"objectives.correct_pair": 1.0, "text.max_tokens": max(LENGTHS)}
    return tiny.make_config(**(fields | changes))


def start(config, vocabulary: int) -> nnx.Module:
    """The trunk of a new learner that starts from what the config names."""
    contract = tiny.make_contract(vocabulary=vocabulary, max_tokens=max(LENGTHS))
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    definition, params, statistics = split(learner)
    dataset = SimpleNamespace(contract=contract, tokenizer=range(vocabulary))
    state = fresh(params, statistics, optax.identity())
    state, _, _ = converted.start_from(state, config, dataset)
    return nnx.merge(definition, state.params, state.statistics).model


def encode(model: nnx.Module, batch: dict[str, np.ndarray]) -> np.ndarray:
    definition, state = nnx.split(model)
    run = jax.jit(lambda state: nnx.merge(definition, state).encode_text(batch, None).hidden)
    return np.asarray(run(state))


@pytest.mark.parametrize(
    ("size", "vocabulary", "activation", "suffix"),
    [
        ("tiny", 50, "gelu_new", ".safetensors"),
        ("tiny", 50, "gelu", ".bin"),
        ("base", 30000, "gelu_new", ".bin"),
        ("base", 30000, "gelu", ".safetensors"),
    ],
)
def test_a_converted_albert_equals_transformers(tmp_path, size, vocabulary, activation, suffix):
    config = make_config(**{f"model.{name}": value for name, value in SIZES[size].items()})
    config.model.activation = {"gelu": "gelu", "gelu_new": "gelu_tanh"}[activation]
    source, folder = tmp_path / "torch", tmp_path / "converted"
    source.mkdir()
    in_pytorch(write_albert, source, size, vocabulary, activation, suffix)
    command("-m", "atbert_jax.convert", "albert", source, folder)
    config.init.text, config.text.tokenizer = str(folder), "the one of this ALBERT"
    batch = tokens(vocabulary)
    real = batch["token_mask"] > 0
    expected = np.load(source / "outputs.npz")["hidden"]
    found = encode(start(config, vocabulary), batch)
    assert np.abs(found - expected)[real].max() < 1e-5


def test_transformers_load_a_trained_text_encoder(tmp_path):
    model = tokenization.train_sentencepiece(
        ["slow piano", "fast drums"], tmp_path / "spiece.model", 40
    )
    tokenizer = tokenization.load_tokenizer(model)
    config = make_config(**{"model.layers": 2})
    contract = tiny.make_contract(vocabulary=len(tokenizer), max_tokens=max(LENGTHS))
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    _, params, statistics = split(learner)
    run_folder.save_run(tmp_path / "run", config, contract, tokenizer)
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(fresh(params, statistics, optax.trace(0.9)), 0.0)
    checkpoints.close()
    folder = tmp_path / "torch"
    command("-m", "atbert_jax.convert", "albert", tmp_path / "run", folder, "--to_pytorch")
    in_pytorch(load_albert, folder, "AlbertModel", ["pooler.bias", "pooler.weight"])
    batch = tokens(len(tokenizer))
    expected = np.load(folder / "outputs.npz")["hidden"]
    found = encode(learner.model, batch)
    assert np.abs(found - expected)[batch["token_mask"] > 0].max() < 1e-5


def test_transformers_load_the_head_of_masked_language_modelling(tmp_path):
    source, folder, back = (tmp_path / name for name in ("torch", "converted", "back"))
    source.mkdir()
    in_pytorch(write_albert, source, "tiny", 50, "gelu_new", ".safetensors")
    command("-m", "atbert_jax.convert", "albert", source, folder)
    arrays = {
        name.replace(albert_rules.LAYER, "model/encoders/shared/layers/0/"): array
        for name, array in load_file(folder / files.WEIGHTS).items()
    }
    trained = SimpleNamespace(
        workdir=tmp_path,
        params=traverse_util.unflatten_dict(arrays, sep="/"),
        config=make_config(**{f"model.{name}": value for name, value in SIZES["tiny"].items()}),
        contract=tiny.make_contract(vocabulary=50),
    )
    back.mkdir()
    files.write(back, albert_rules.to_pytorch(trained), None, pytorch=True)
    in_pytorch(load_albert, back, "AlbertForMaskedLM", [])
    expected, found = (np.load(name / "outputs.npz") for name in (source, back))
    for name in ("hidden", "logits"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


class Reader(nnx.Module):
    """A trunk of a BERT alone."""

    def __init__(self, config, contract, rngs: nnx.Rngs) -> None:
        self.text_encoder = BERT(config, contract, dtype=jnp.float32, rngs=rngs)


@pytest.mark.parametrize(
    ("size", "suffix"), [("tiny", ".safetensors"), ("tiny", ".bin"), ("base", ".safetensors")]
)
def test_every_layer_of_a_converted_bert_equals_transformers(tmp_path, size, suffix):
    """Also of the oldest files, which have other names; and what is written back is the same."""
    source, folder, back = (tmp_path / name for name in ("torch", "converted", "back"))
    source.mkdir()
    in_pytorch(write_bert, source, size, suffix)
    command("-m", "atbert_jax.convert", "bert", source, folder)
    config = make_config(**{f"model.{name}": value for name, value in SIZES[size].items()})
    config.model.activation = "gelu"
    contract = tiny.make_contract(vocabulary=50, max_tokens=512)
    trunk = tiny.make_module(lambda: Reader(config.model, contract, Keys(0)))
    arrays = load_file(folder / files.WEIGHTS)
    own = traverse_util.unflatten_dict(arrays, sep="/")["model"]
    own["text_encoder"]["encoder"]["layers"] = {
        int(number): layer for number, layer in own["text_encoder"]["encoder"]["layers"].items()
    }
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(
        jnp.shape, nnx.to_pure_dict(nnx.state(trunk, nnx.Param))
    )
    nnx.update(trunk, own)
    encoder, batch = trunk.text_encoder, tokens(50)
    ids, mask = batch["token_ids"], batch["token_mask"]
    expected = np.load(source / "outputs.npz")
    x = encoder.place(encoder.word_embeddings(ids), None)
    for number, layer in enumerate(expected["hidden"]):
        assert np.abs(x - layer)[mask > 0].max() < 1e-5, number
        x = encoder.encoder(x, mask, None, first=number, last=number + 1)
    whole = encoder(ids, mask, None)
    assert np.abs(whole - expected["hidden"][-1])[mask > 0].max() < 1e-5

    trained = SimpleNamespace(
        workdir=tmp_path,
        params=traverse_util.unflatten_dict(arrays, sep="/"),
        config=config,
        contract=contract,
    )
    back.mkdir()
    files.write(back, bert_rules.to_pytorch(trained), None, pytorch=True)
    in_pytorch(load_bert, back)
    found = np.load(back / "outputs.npz")
    for name in ("hidden", "logits"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
