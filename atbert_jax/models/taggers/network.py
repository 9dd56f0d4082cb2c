"""What the trunk of the taggers asks of a network."""

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models.clap_frontend import repeated
from atbert_jax.models.trunk import Batch


class Network(nnx.Module):
    """A network that maps waveforms to features.

    It is made as `Network(config, spectrogram, rngs=rngs)`.

    Attributes:
        audio_input: What it hears, of a batch.
        features: D.
        repeats: It hears a segment that ends early again and again (see `heard`).
    """

    audio_input = "waveform"
    features: int
    repeats = False

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, D); `key=None` is evaluation."""
        raise NotImplementedError

    def pictures(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The output (N, ..., T, C) of each layer, for a probe.

        A network that does not show its layers gives its features, at one place.
        """
        return [self(waveform, mask, key)[:, None]]


def heard(network: Network, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The segments of all clips as a network hears them, one after the other.

    Args:
        network: Which.
        batch: `waveform` (B, S, N), `samples` and `segment_mask` (B, S).

    Returns:
        (B S, N), filled with silence or with the sound once more, and mask (B S,).
    """
    waveform, mask = batch[network.audio_input], batch["segment_mask"].reshape(-1)
    waveform = waveform.reshape(-1, waveform.shape[-1])
    if network.repeats:
        samples = jnp.where(mask > 0, batch["samples"].reshape(-1), 0)
        waveform = repeated(waveform, samples, waveform.shape[-1])
    return waveform, mask
