"""CLAP computes what transformers' ClapModel does, layer by layer.

PyTorch runs in processes of its own: its compiler and TensorFlow crash when loaded together.
"""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from atbert_jax.models.encoded import Encoded
from atbert_jax.weights import clap_rules
from tests.conversion.test_parity import in_pytorch
from tests.models import clap_sizes

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
    ),
]
LENGTHS = (9, 5, 3)


def write(folder: str, fused: bool) -> None:
    """A small ClapModel of random arrays, none of them 0, with what each of its layers computes."""
    import torch

    model = clap_sizes.pytorch_model(fused)
    model.save_pretrained(folder)
    generator = np.random.default_rng(0)
    views = generator.normal(-20, 20, (3, 4 if fused else 1, 1001, 64)).astype(np.float32)
    ids = np.ones((len(LENGTHS), max(LENGTHS)), np.int64)
    for row, length in zip(ids, LENGTHS, strict=True):
        row[:length] = generator.integers(3, clap_sizes.VOCABULARY, length)
    longer = np.array([[1], [0], [1]]) if fused else np.zeros((3, 1), int)
    audio = {"input_features": torch.tensor(views), "is_longer": torch.tensor(longer)}
    text = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(ids != 1).long()}
    outputs = {"views": views, "longer": longer[:, 0], "ids": ids}
    with torch.no_grad():
        heard = model.audio_model(**audio, output_hidden_states=True)
        for number, states in enumerate(heard.hidden_states):
            outputs[f"audio/{number}"] = states.flatten(2).transpose(1, 2)
        outputs["audio"] = heard.pooler_output
        hooks = []
        layers = [model.text_model.embeddings, *model.text_model.encoder.layer]
        for layer in layers:
            layer.register_forward_hook(lambda *given: hooks.append(given[-1]))
        model.text_model(**text)
        for number, states in enumerate(hooks):
            outputs[f"text/{number}"] = states[0] if isinstance(states, tuple) else states
        both = model(**audio, **text)
    outputs |= {
        "audio_embeds": both.audio_embeds,
        "text_embeds": both.text_embeds,
        "logits": both.logits_per_audio,
    }
    np.savez(f"{folder}/outputs.npz", **{name: np.asarray(x) for name, x in outputs.items()})


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_each_layer_is_that_of_transformers(tmp_path: Path, fused: bool):
    in_pytorch(write, tmp_path, fused)
    expected = np.load(tmp_path / "outputs.npz")
    about = json.loads((tmp_path / "config.json").read_text())["text_config"]
    theirs = clap_rules.prepared(
        "here", load_file(tmp_path / "model.safetensors"), about["pad_token_id"], max(LENGTHS)
    )
    arrays, _, unused = clap_rules.to_ours(
        "here", theirs, about["num_hidden_layers"], clap_sizes.EAR["depths"], fused=fused
    )
    assert len(arrays) + len(unused) == len(theirs)
    model = clap_sizes.learner(fused, arrays).model

    views, longer = jnp.asarray(expected["views"]), jnp.asarray(expected["longer"], jnp.float32)
    with jax.default_matmul_precision("highest"):
        states = jax.jit(model.audio_encoder.states, static_argnums=3)(
            views, longer, jnp.ones(len(views)), None
        )
        for number, found in enumerate(states[:-1]):
            near(found, expected[f"audio/{number}"])
        vectors = states[-1].mean(axis=1)
        near(vectors, expected["audio"])
        audio = model.fuse(Encoded(vectors[:, None], jnp.ones((len(views), 1))), None, None)
        near(audio.hidden[:, 0], expected["audio_embeds"], 1e-5)

        mask = jnp.asarray(expected["ids"] != 1, jnp.float32)
        batch = {"token_ids": jnp.asarray(expected["ids"]), "token_mask": mask}
        words = model.embed_text(batch, None)
        placed = model.text_encoder.place(words.hidden, None)
        real = np.asarray(mask, bool)
        layers = [placed, *model.text_encoder.encoder.states(placed, mask, None)]
        for number, found in enumerate(layers):
            near(np.asarray(found)[real], expected[f"text/{number}"][real])
        text = model.fuse(None, model.encode_text(batch, None), None)
        near(text.hidden[:, 0], expected["text_embeds"], 1e-5)
    scale = np.exp(arrays[clap_rules.SCALE])
    near(scale * audio.hidden[:, 0] @ text.hidden[:, 0].T, expected["logits"])


def near(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=tolerance)
