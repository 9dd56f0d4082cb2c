"""M3BERT (Greer et al. 2023): a BERT of musical features, one position for each frame.

It goes back to Mockingjay (Liu et al. 2020). Positions are sinusoids, the encoder is BERT's with
layers of their own. Neither attention weights nor feed-forward outputs have dropout here, as in
ALBERT.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import Encoded, drop, fold, with_mean
from atbert_jax.models.linear import Linear
from atbert_jax.models.transformer import Encoder, LayerNorm
from atbert_jax.models.trunk import AudioTrunk, Batch

LONGEST_PERIOD = 10_000.0
SELECTIONS = ("last", "first", "average", "weighted")
# Beside `config.model`, which has the sizes.
DEFAULTS = {
    "m3bert": {
        "downsample": 1,  # neighbouring frames that are stacked into one position
        # Of the layers: or 'first', 'average', or their learned sum, 'weighted'.
        "select": "last",
    }
}


def sinusoids(positions: int, width: int) -> np.ndarray:
    """(T, D): sin and cos in turn of the angles position / 10000^(2 floor(i / 2) / D)."""
    index = np.arange(width)
    angles = np.arange(positions)[:, None] / LONGEST_PERIOD ** (2 * (index // 2) / width)
    return np.where(index % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


class Embeddings(nnx.Module):
    """Frames at their positions: a linear layer, sinusoids, normalization and dropout.

    A module of its own, so that freezing it turns off its dropout, whatever else is trained.

    Args:
        features: Width of a frame F.
        settings: `config.model`, of which hidden D and dropout.
        dtype: Of the computation.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        features: int,
        settings: ml_collections.ConfigDict,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.projection = Linear(features, settings.hidden, dtype=dtype, rngs=rngs)
        self.norm = LayerNorm(settings.hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(settings.dropout)

    def __call__(self, frames: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """(B, T, F) with their mask (B, T) to (B, T, D); without a key there is no dropout."""
        x = self.projection(frames)
        positions = sinusoids(*x.shape[1:]) * mask[..., None]
        x = self.norm(x + positions.astype(x.dtype))
        return drop(self.dropout, x, key)


class M3BERT(AudioTrunk):
    """A trunk of frames of features (B, T, F) with their mask (B, T); S = T / R, rounded up.

    `config.m3bert.downsample` R stacks as many neighbouring frames into one position; a last
    position that is not full is filled with 0, and is real if one of its frames is. The original
    leaves it out.

    The output is that of the last layer, of the first one, the average of all, or their sum with
    learned weights that are positive and sum to 1: `config.m3bert.select`.

    With F = 324, R = 1, hidden D = 768 and ffn 3072 it has 251 136 + 7 087 872 L parameters.

    Args:
        config: The whole config: of `config.model` hidden, heads, layers, ffn, activation, dropout,
            remat, dtype; and `config.m3bert`.
        contract: Gives the features.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown or the batches do not carry frames.
    """

    audio_input = "frames"
    defaults = DEFAULTS

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        if contract.features is None:
            raise ValueError(
                f"m3bert reads features, but config.data.input={config.data.input!r}; set"
                " --config.data.input=frames"
            )
        self.downsample, self.select = config.m3bert.downsample, config.m3bert.select
        if self.downsample < 1:
            raise ValueError(f"config.m3bert.downsample={self.downsample} must be 1 or more")
        choices.require("config.m3bert.select", self.select, SELECTIONS)
        settings = config.model
        dtype = jnp.dtype(settings.dtype)
        self.hidden = settings.hidden
        stacked = contract.features.size * self.downsample
        self.embeddings = Embeddings(stacked, settings, dtype=dtype, rngs=rngs)
        self.encoder = Encoder(settings, dtype=dtype, rngs=rngs)
        if self.select == "weighted":
            self.layer_weights = nnx.Param(jnp.zeros(settings.layers))

    def stack(self, frames: jax.Array, mask: jax.Array) -> Encoded:
        """R neighbouring frames as one: (B, T, F) to (B, ceil(T / R), R F); padding becomes 0."""
        missing = -frames.shape[1] % self.downsample
        frames = jnp.pad(frames * mask[..., None], [(0, 0), (0, missing), (0, 0)])
        mask = jnp.pad(mask, [(0, 0), (0, missing)])
        frames = frames.reshape(frames.shape[0], -1, self.downsample * frames.shape[-1])
        return Encoded(frames, mask.reshape(mask.shape[0], -1, self.downsample).max(axis=-1))

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The encoder's input (B, S, D); where `segment_mask` (B, 1) is 0 there is no clip."""
        frames, mask = self.stack(batch["frames"], batch["frame_mask"] * batch["segment_mask"])
        return Encoded(self.embeddings(frames, mask, fold(key, 0)), mask)

    def layers(self, batch: Batch) -> Encoded:
        """The output of every layer in evaluation: (L, B, S, D), with mask (B, S)."""
        x, mask = self.embed_audio(batch, None)
        return Encoded(jnp.stack(self.encoder.states(x, mask, None)), mask)

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, S, D) to (B, 1 + S, D): the mean of the real states, then each of them."""
        x, mask = embedded
        states = self.encoder.states(x, mask, fold(key, 1))
        return with_mean(Encoded(self._selected(states), mask))

    def _selected(self, states: list[jax.Array]) -> jax.Array:
        if self.select == "first":
            return states[0]
        if self.select == "average":
            return sum(states) / len(states)
        if self.select == "weighted":
            weights = jax.nn.softmax(self.layer_weights[...]).astype(states[0].dtype)
            return sum(weight * state for weight, state in zip(weights, states, strict=True))
        return states[-1]
