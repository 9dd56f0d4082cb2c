"""A music tagger's network as a trunk."""

import jax
import ml_collections
from flax import nnx

from atbert_jax.models import taggers
from atbert_jax.models.encoded import Encoded, with_mean
from input_pipeline.contract import Contract


class Tagger(nnx.Module):
    """A trunk of audio alone: `encode_audio`, and what is asked of every trunk around it.

    With one segment a clip it is trained instance by instance, as published; with several, a head
    on their mean is trained on whole songs.

    Args:
        config: The whole config; `config.model.name` names the network (see `taggers`).
        contract: Gives the spectrogram.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such network, or the batches do not carry waveforms.
    """

    modalities = ("audio",)

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        self.network = taggers.build(config, config.model.name, contract, rngs=rngs)
        self.hears, self.hidden = self.network.hears, self.network.features

    def embed_audio(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """What the network hears in each segment.

        Args:
            batch: `waveform` (B, S, N) and `segment_mask` (B, S).
            key: None = evaluation.

        Returns:
            (B, S, D).
        """
        waveform, mask = batch["waveform"], batch["segment_mask"]
        merged = waveform.reshape(-1, waveform.shape[-1])
        features = self.network(merged, mask.reshape(-1), key)
        return Encoded(features.reshape(*mask.shape, self.hidden), mask)

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, S, D) to (B, S + 1, D): the mean of the real segments, then each by itself."""
        del key
        return with_mean(embedded)

    def encode_audio(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """The stream (B, S + 1, D) of `waveform` (B, S, N) and `segment_mask` (B, S)."""
        return self.contextualize_audio(self.embed_audio(batch, key), key)

    def fuse(self, audio: Encoded, text: None, key: jax.Array | None) -> Encoded:
        """Nothing joins the audio: what comes in."""
        del text, key
        return audio
