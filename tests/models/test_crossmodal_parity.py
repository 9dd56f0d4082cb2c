"""The cross-modal transformer computes what PyTorch's attention does, published and intended.

PyTorch runs in a process of its own: its compiler and TensorFlow crash when loaded together.
"""

import importlib.util
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.training.learner import Learner
from tests import tiny
from tests.models.test_crossmodal import SETTINGS, make_contract

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
    ),
]

MFCCS, TEXT, WIDTH, HEADS, LAYERS = 40, 24, 64, 8, 4
FRAMES, WORDS = 37, 9
PARTS = ("query", "key", "value")


def inputs(lengths: tuple[tuple[int, int], ...]) -> dict[str, np.ndarray]:
    """Streams of so many frames and words, with noise behind them."""
    rng = np.random.default_rng(0)
    frames, words = np.array(lengths).T
    return {
        "audio": rng.normal(0, 3, (len(lengths), FRAMES, MFCCS)).astype(np.float32),
        "audio_mask": (np.arange(FRAMES) < frames[:, None]).astype(np.float32),
        "text": rng.normal(0, 1, (len(lengths), WORDS, TEXT)).astype(np.float32),
        "text_mask": (np.arange(WORDS) < words[:, None]).astype(np.float32),
    }


def ours(theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's arrays by our names, of the trunk and of the head."""
    found = {}
    for name, array in theirs.items():
        path, _, kind = name.rpartition(".")
        trunk = "objectives/classification" if path in ("dense", "residual", "output") else "model"
        path = f"{trunk}/{path.replace('.', '/')}"
        if "in_proj" in kind:
            path = path.removesuffix("attention")
            for part, rows in zip(PARTS, np.split(array, 3), strict=True):
                kind_here = "bias" if kind.endswith("bias") else "kernel"
                found[f"{path}{part}/{kind_here}"] = rows.T
            continue
        path = path.replace("attention/out_proj", "attention_output")
        if kind == "weight":
            kind = "scale" if path.endswith("norm") else "kernel"
        found[f"{path}/{kind}"] = array.T
    return found


def torch_logits(folder, batch: dict[str, np.ndarray], sizes: dict) -> tuple:
    np.savez(folder / "inputs.npz", **batch)
    program = f"from tests.models import pytorch_crossmodal as p; p.write({str(folder)!r}, {sizes})"
    subprocess.run([sys.executable, "-c", program], check=True)
    arrays = dict(np.load(folder / "outputs.npz"))
    return arrays.pop("logits"), ours(arrays)


PADDED = ((37, 9), (20, 9), (30, 4), (3, 3))
FULL = ((37, 9),) * 2


@pytest.mark.parametrize(
    ("modalities", "merge", "causal", "lengths"),
    [
        (("audio", "text"), "average", False, PADDED),
        (("audio", "text"), "last", False, PADDED),
        (("audio", "text"), "average", False, FULL),
        (("audio", "text"), "average", True, FULL),
        (("audio",), "average", False, PADDED),
        (("audio",), "last", True, FULL),
    ],
)
def test_equals_pytorch(tmp_path, modalities, merge, causal, lengths):
    batch = inputs(lengths)
    both = len(modalities) == 2
    sizes = {"mfccs": MFCCS, "text": TEXT * both, "width": WIDTH, "heads": HEADS}
    sizes |= {"layers": LAYERS, "classes": len(tiny.LABELS), "causal": causal, "merge": merge}
    expected, arrays = torch_logits(tmp_path, batch, sizes)
    fields = {"modalities": modalities, "merge": merge, "causal": causal, "n_mfcc": MFCCS}
    fields |= {"width": WIDTH, "heads": HEADS, "layers": LAYERS}
    config = tiny.make_config(
        **SETTINGS
        | {f"crossmodal.{name}": value for name, value in fields.items()}
        | {"model.hidden": TEXT, "classification.views": ("_".join(modalities),)}
    )
    learner = tiny.make_module(lambda: Learner(config, make_contract(), rngs=Keys(0)))
    used = set()

    def fill(path: tuple, x: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.startswith("model/text_encoder/"):
            return x
        used.add(name)
        assert arrays[name].shape == x.shape, name
        return jnp.asarray(arrays[name])

    state = nnx.to_pure_dict(nnx.state(learner, nnx.Param))
    nnx.update(learner, jax.tree_util.tree_map_with_path(fill, state))
    assert used == arrays.keys()
    model = learner.model
    audio = model.contextualize_audio(Encoded(batch["audio"], batch["audio_mask"]), None)
    text = None
    if both:
        text = model.contextualize_text(Encoded(batch["text"], batch["text_mask"]), None)
    found = learner.objectives["classification"].logits(model.fuse(audio, text, None), None)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert expected.std(axis=0).max() > 0.01
