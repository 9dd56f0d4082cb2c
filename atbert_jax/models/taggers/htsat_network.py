"""HTSAT (Chen et al. 2022) as CLAP hears with it, by itself: for the weights of a CLAP."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models import clap_frontend
from atbert_jax.models.htsat import BANDS, FRAMES, HTSAT, QUARTERS
from atbert_jax.models.spec_augment import masks_of
from atbert_jax.models.taggers.blocks import require_samples
from atbert_jax.models.taggers.network import Network


class HTSATNetwork(Network):
    """The audio encoder of a CLAP, which describes each segment by itself.

    It hears what a CLAP without fusion hears of a segment: one that is shorter is repeated. Of a
    CLAP with fusion it is what hears clips of ten seconds, without the crops of longer ones.

    With the sizes of laion/clap-htsat-unfused it has 27 534 488 parameters.

    Args:
        config: The whole config: `config.clap` has the sizes, `config.tagger` dropout and masks.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there are not 64 bands, or a size does not fit; the message names the field.
    """

    repeats = True

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        if spectrogram.n_mels != BANDS:
            raise ValueError(
                f"htsat hears {BANDS} bands, but config.spectrogram.n_mels={spectrogram.n_mels};"
                f" set --config.spectrogram.n_mels={BANDS}"
            )
        self.spectrogram = spectrogram
        self.encoder = HTSAT(
            config.clap,
            fused=False,
            masks=masks_of(config.tagger, frames=2, bands=3),
            dropout=config.tagger.dropout,
            remat=False,  # as a whole: a tagger is, or what hears with it
            dtype=jnp.dtype(config.model.dtype),
            rngs=rngs,
        )
        self.features = self.encoder.width

    def _hear(self, waveform: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log-mels (N, 1, T, F), none of which is of a long clip (N,)."""
        count, samples = waveform.shape
        spectrogram = self.spectrogram
        require_samples(samples, spectrogram.n_fft, spectrogram)
        frames = samples // spectrogram.hop_length + 1
        if frames > FRAMES:
            raise ValueError(
                f"htsat hears at most {FRAMES} frames, but a segment has {frames}; make"
                " config.segmenting.seconds less or config.spectrogram.hop_length more"
            )
        log_mel = clap_frontend.decibels(waveform, jnp.full(count, samples), spectrogram)
        return log_mel[:, None], jnp.zeros(count)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, D); `key=None` is evaluation.

        Raises:
            ValueError: if the clips are shorter than a window, or longer than 1024 frames.
        """
        return self.encoder(*self._hear(waveform), mask, key)

    def pictures(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The patches and each stage's output (N, F', T', C); the quarters of time in a row."""
        found = []
        for states in self.encoder.states(*self._hear(waveform), mask, key):
            count, places, channels = states.shape
            side = round(places**0.5)
            quarters = states.reshape(count, QUARTERS, -1, side, channels).swapaxes(1, 2)
            found.append(quarters.reshape(count, -1, QUARTERS * side, channels))
        return found
