"""A model made by hand that knows high tones from low ones, and what texts say of them."""

import types
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import Contract, Normalization
from atbert_jax.models import frontend
from atbert_jax.models.encoded import Encoded
from atbert_jax.objectives.objective import Objective
from atbert_jax.parallel import sharding
from atbert_jax.training.state import split
from atbert_jax.training.trained import Trained
from tests import tiny

LOW, HIGH = np.eye(2, dtype=np.float32)
SCORE, SCALE = 3.0, 2.0


class Tokenizer:
    """One token for each word."""

    pad_token_id = 0
    backend_tokenizer = types.SimpleNamespace(model=None)  # which is not WordPiece
    words = ("<pad>", "<unk>", "[CLS]", "[SEP]", "low", "high", "a", "tone")

    def __call__(self, texts: Sequence[str], max_length: int, **_: object) -> dict:
        known = [[self.words.index(w) for w in t.split() if w in self.words] for t in texts]
        return {"input_ids": [[2, *ids[: max_length - 2], 3] for ids in known]}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return [self.words[number] for number in ids]


class Trunk(nnx.Module):
    """Streams of one state: LOW or HIGH, or their mean for words that are neither.

    What a clip or a text says by itself is the same for all, unless `aware`.
    """

    audio_input = "log_mel"
    modalities = ("audio", "text")

    def __init__(self, aware: bool) -> None:
        self.aware = aware

    def encode_audio(self, batch, key) -> Encoded:
        bands = batch["log_mel"].mean(axis=(1, 3))
        low, high = jnp.split(bands, 2, axis=1)
        return self._stream(high.mean(axis=1) - low.mean(axis=1), batch["segment_mask"])

    def encode_text(self, batch, key) -> Encoded:
        ids = batch["token_ids"]
        says = (ids == 5).any(axis=1) * 1.0 - (ids == 4).any(axis=1)
        return self._stream(says, batch["token_mask"])

    def _stream(self, height: jax.Array, mask: jax.Array) -> Encoded:
        share = (1 + jnp.sign(height))[:, None] / 2
        return Encoded((share * HIGH + (1 - share) * LOW)[:, None], mask.max(axis=1)[:, None])

    def fuse(self, audio: Encoded | None, text: Encoded | None, key) -> Encoded:
        if audio is not None and text is not None:
            both = zip(audio, text, strict=True)
            return Encoded(*(jnp.concatenate(pair, axis=1) for pair in both))
        alone = text if audio is None else audio
        return alone if self.aware else Encoded(jnp.ones_like(alone.hidden), alone.mask)


class PairHead(Objective):
    """Scores a match with 3."""

    def score(self, model, audio: Encoded, text: Encoded, draw: jax.Array) -> jax.Array:
        joint = model.fuse(audio, text, None).hidden
        return SCORE * (joint[:, 0] * joint[:, 1]).sum(axis=-1)


class CosineHead(Objective):
    """Scales cosines with 2."""

    scale = SCALE


class Listener(nnx.Module):
    """The trunk with the heads."""

    def __init__(self, contract: Contract, heads: dict[str, nnx.Module], aware: bool) -> None:
        self.contract = contract
        self.model = Trunk(aware)
        self.objectives = nnx.Dict(heads)

    def prepare(self, batch, key) -> dict:
        draws = jnp.zeros((len(batch["valid"]), 2))
        return frontend.prepare(batch, self.contract) | {"position_draw": draws}

    def predict(self, batch) -> dict:
        return {name: {} for name in self.objectives}


def make(*objectives: str, aware: bool = True, **changes: object) -> Trained:
    """The listener as if it was trained, for tones at 8 kHz.

    Args:
        objectives: 'correct_pair', 'alignment'.
        aware: Clips and texts say by themselves what they are.
        changes: Of the config, by dotted names.
    """
    contract = Contract(
        spectrogram=Spectrogram(8000, n_fft=256, hop_length=128, n_mels=16),
        segmenting=Segmenting(2, 0.25),
        normalization=Normalization("none"),
        max_tokens=6,
        vocabulary=len(Tokenizer.words),
        labels=tiny.make_contract(task="").labels,
    )
    config = tiny.make_config(**{"data.task": "single_label", "evaluation.batch_size": 4} | changes)
    config.objectives.update(dict.fromkeys(objectives, 1.0))
    kinds = {"correct_pair": PairHead, "alignment": CosineHead}
    heads = {name: kinds[name]() for name in objectives if name in kinds}
    definition, params, statistics = split(Listener(contract, heads, aware))
    mesh = sharding.make_mesh()
    return Trained(
        Path("listener"), 1, config, contract, Tokenizer(), definition, params, statistics, mesh
    )
