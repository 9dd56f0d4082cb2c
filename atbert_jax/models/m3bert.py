"""M3BERT (Greer et al. 2023): a BERT of musical features, one position for each frame.

It goes back to Mockingjay (Liu et al. 2020). Positions are sinusoids, the encoder is BERT's with
layers of their own. Attention weights have no dropout here, nor have feed-forward outputs: the
house's layer is ALBERT's.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax.models.encoded import Encoded, fold, with_mean
from atbert_jax.models.transformer import Encoder, EncoderLayer, LayerNorm
from input_pipeline.contract import Contract

LONGEST_PERIOD = 10_000.0
SELECTIONS = ("last", "first", "average", "weighted")


def sinusoids(positions: int, width: int) -> np.ndarray:
    """(T, D): sin and cos in turn of the angles position / 10000^(2 floor(i / 2) / D)."""
    index = np.arange(width)
    angles = np.arange(positions)[:, None] / LONGEST_PERIOD ** (2 * (index // 2) / width)
    return np.where(index % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


class Embeddings(nnx.Module):
    """Frames at their positions: a linear layer, sinusoids, normalization and dropout.

    A module of its own, so that its dropout rests where it is frozen, whatever else is trained.

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
        self.projection = nnx.Linear(features, settings.hidden, dtype=dtype, rngs=rngs)
        self.norm = LayerNorm(settings.hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(settings.dropout)

    def __call__(self, frames: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """(B, T, F) with their mask (B, T) to (B, T, D); without a key there is no dropout."""
        x = self.projection(frames)
        positions = sinusoids(*x.shape[1:]) * mask[..., None]
        x = self.norm(x + positions.astype(x.dtype))
        return self.dropout(x, deterministic=key is None, rngs=key)


class M3BERT(nnx.Module):
    """A trunk of audio alone, which hears frames (B, T, F) with their mask (B, T).

    `config.m3bert.downsample` R stacks as many neighbouring frames into one position; a last
    position that is not full is filled with 0, and is real if one of its frames is. The original
    leaves it out.

    What it says is the last layer's, the first one's, the average of all, or their sum with learned
    weights that are positive and sum to 1: `config.m3bert.select`.

    With F = 324, R = 1, hidden D = 768 and ffn 3072 it has 251 136 + 7 087 872 L parameters.

    Args:
        config: The whole config: of `config.model` hidden, heads, layers, ffn, activation, dropout,
            remat, dtype; and `config.m3bert`.
        contract: Gives the features.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown or the batches do not carry frames.
    """

    modalities = ("audio",)
    hears = "frames"

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        if contract.features is None:
            raise ValueError(
                f"m3bert hears features, but config.data.input={config.data.input!r}; set"
                " --config.data.input=frames"
            )
        self.downsample, self.select = config.m3bert.downsample, config.m3bert.select
        if self.downsample < 1:
            raise ValueError(f"config.m3bert.downsample={self.downsample} must be 1 or more")
        if self.select not in SELECTIONS:
            raise ValueError(
                f"config.m3bert.select={self.select!r} is none of {', '.join(SELECTIONS)}"
            )
        settings = config.model
        dtype = jnp.dtype(settings.dtype)
        self.hidden = settings.hidden
        stacked = contract.features.size * self.downsample
        self.embeddings = Embeddings(stacked, settings, dtype=dtype, rngs=rngs)
        layers = [EncoderLayer(settings, dtype=dtype, rngs=rngs) for _ in range(settings.layers)]
        self.encoder = Encoder(layers, settings.layers, scan_layers=False, remat=settings.remat)
        if self.select == "weighted":
            self.layer_weights = nnx.Param(jnp.zeros(settings.layers))

    @property
    def embedding_widths(self) -> dict[str, int]:
        """Of what `embed_audio` returns, D."""
        return {"audio": self.hidden}

    def stack(self, frames: jax.Array, mask: jax.Array) -> Encoded:
        """R neighbouring frames as one: (B, T, F) to (B, ceil(T / R), R F); padding becomes 0."""
        missing = -frames.shape[1] % self.downsample
        frames = jnp.pad(frames * mask[..., None], [(0, 0), (0, missing), (0, 0)])
        mask = jnp.pad(mask, [(0, 0), (0, missing)])
        frames = frames.reshape(len(frames), -1, self.downsample * frames.shape[-1])
        return Encoded(frames, mask.reshape(len(mask), -1, self.downsample).max(axis=-1))

    def embed_audio(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """What enters the encoder, (B, T / R, D).

        Args:
            batch: `frames` (B, T, F) and `frame_mask` (B, T); where `segment_mask` (B, 1) is 0
                there is no clip.
            key: Of the dropout; None = evaluation.
        """
        frames, mask = self.stack(batch["frames"], batch["frame_mask"] * batch["segment_mask"])
        return Encoded(self.embeddings(frames, mask, fold(key, 0)), mask)

    def layers(self, batch: dict[str, jax.Array]) -> Encoded:
        """What every layer says of the frames, in evaluation: (L, B, T / R, D), mask (B, T / R)."""
        x, mask = self.embed_audio(batch, None)
        return Encoded(jnp.stack(self.encoder.states(x, mask, None)), mask)

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, T / R, D) to (B, 1 + T / R, D): the mean of the real states, then each of them."""
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

    def encode_audio(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """The stream (B, 1 + T / R, D) of `frames` and their masks."""
        return self.contextualize_audio(self.embed_audio(batch, key), key)

    def fuse(self, audio: Encoded, text: None, key: jax.Array | None) -> Encoded:
        """Nothing joins the audio: what comes in."""
        del text, key
        return audio
