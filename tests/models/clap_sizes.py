"""A small CLAP, here and in transformers: the picture is as large as ever, the widths are not."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import Contract, Labels, Normalization
from atbert_jax.models.keys import Keys
from atbert_jax.training.learner import Learner
from atbert_jax.weights import engine
from tests import tiny

VOCABULARY, TOKENS, POSITIONS = 40, 9, 14
TEXT = {"hidden": 16, "heads": 2, "layers": 2, "ffn": 32, "activation": "gelu"}
EAR = {"patch_width": 8, "depths": (2, 1, 2, 1), "heads": (1, 2, 2, 4), "projection": 12}

CHANGES = {
    "model.name": "clap",
    "data.input": "waveform",
    **{f"model.{name}": value for name, value in TEXT.items()},
    **{f"clap.{name}": value for name, value in EAR.items()},
}


def settings(fused: bool) -> dict[str, dict[str, Any]]:
    """What transformers' `ClapConfig` takes."""
    return {
        "text_config": {
            "vocab_size": VOCABULARY,
            "hidden_size": TEXT["hidden"],
            "num_hidden_layers": TEXT["layers"],
            "num_attention_heads": TEXT["heads"],
            "intermediate_size": TEXT["ffn"],
            "max_position_embeddings": POSITIONS,
        },
        "audio_config": {
            "patch_embeds_hidden_size": EAR["patch_width"],
            "hidden_size": 8 * EAR["patch_width"],
            "depths": EAR["depths"],
            "num_attention_heads": EAR["heads"],
            "enable_fusion": fused,
            "fusion_type": "aff_2d" if fused else None,
        },
        "projection_dim": EAR["projection"],
    }


def pytorch_model(fused: bool) -> Any:
    """A `ClapModel` in evaluation whose arrays are random, none of them 0."""
    import torch
    from transformers import ClapConfig, ClapModel

    torch.manual_seed(0)
    model = ClapModel(ClapConfig(**settings(fused))).eval()
    with torch.no_grad():
        for name, array in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                array += torch.rand_like(array)
            elif name.endswith("running_mean"):
                array += torch.randn_like(array)
            elif array.is_floating_point() and not name.startswith("logit_scale"):
                # Words differ more than what all texts share.
                size = 2.0 if "word_embeddings" in name else 0.05 if name.endswith("bias") else 0.3
                array += size * torch.randn_like(array)
        model.logit_scale_a += 0.3
    return model


def config(fused: bool) -> ml_collections.ConfigDict:
    """Of a run with the same model."""
    found = tiny.make_config(**CHANGES)
    found.clap.fused = fused
    found.objectives.alignment = 1.0
    return found


def contract(fused: bool) -> Contract:
    """Of ten seconds, or with fusion three times as many, as `ClapFeatureExtractor` hears them."""
    scale = "htk" if fused else "slaney"
    spectrogram = Spectrogram(
        48_000, 1024, 480, 64, 50.0, 14_000.0, mel_scale=scale, log_floor=1e-10
    )
    segmenting = Segmenting(3 if fused else 1, 10.0)
    normalization = Normalization("none")
    return Contract(spectrogram, segmenting, normalization, TOKENS, VOCABULARY, Labels())


def make_batch(rows: int) -> dict[str, np.ndarray]:
    """Random clips, the first one shorter than ten seconds, with texts of 3 tokens and more."""
    rng = np.random.default_rng(0)
    samples = np.full((rows, 1), 480_000)
    samples[0] = 100_000
    return {
        "waveform": rng.normal(size=(rows, 1, 480_000)).astype(np.float32),
        "samples": samples.astype(np.int32),
        "segment_mask": np.ones((rows, 1), np.float32),
        "token_ids": rng.integers(5, VOCABULARY, (rows, TOKENS)).astype(np.int32),
        "token_mask": (np.arange(TOKENS) < 3 + np.arange(rows)[:, None]).astype(np.float32),
    }


def learner(fused: bool, arrays: engine.Arrays) -> Learner:
    """The model and its objective with these arrays, which must be all of theirs."""
    made = nnx.eval_shape(lambda: Learner(config(fused), contract(fused), rngs=Keys(0)))
    state = nnx.to_pure_dict(nnx.state(made))
    assert engine.flat(state).keys() == arrays.keys()
    filled = jax.tree_util.tree_map_with_path(
        lambda path, like: _shaped(arrays[engine.name_of(path)], like), state
    )
    nnx.update(made, filled)
    return made


def _shaped(array: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
    assert array.shape == like.shape
    return jnp.asarray(array, like.dtype)
