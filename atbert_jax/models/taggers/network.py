"""What the trunk of the taggers asks of a network."""

import jax
from flax import nnx


class Network(nnx.Module):
    """A network that maps waveforms to features.

    It is made as `Network(config, spectrogram, rngs=rngs)`.

    Attributes:
        audio_input: What it hears, of a batch.
        features: D.
    """

    audio_input = "waveform"
    features: int

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
