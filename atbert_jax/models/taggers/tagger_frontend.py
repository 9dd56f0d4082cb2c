"""What the taggers hear with: bands in decibels, normalised by a learned scale."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.frontend import spectra
from atbert_jax.models.spec_augment import masks_of, spec_augment


class Constant(nnx.BatchStat):
    """An array that is stored with the model and never trained."""


def power_spectrum(
    waveform: jax.Array, spectrogram: Spectrogram, real: jax.Array | None = None
) -> jax.Array:
    """The power of every frame, as torchaudio gives it: centred, edges mirrored.

    Args:
        waveform: (N, samples), float32 (or float64, with `jax_enable_x64`), in [-1, 1].
        spectrogram: n_fft and hop_length.
        real: (N,), how many samples of each are real. The sound is mirrored where these end, so
            that its frames, `real // hop_length + 1` of them, are what they are without padding.
            None is all.

    Returns:
        (N, samples // hop_length + 1, n_fft // 2 + 1).
    """
    half, hop = spectrogram.n_fft // 2, spectrogram.hop_length
    if real is None:
        padded = jnp.pad(waveform, [(0, 0), (half, half)], mode="reflect")
    else:
        places = mirrored(jnp.arange(-half, waveform.shape[-1] + half), real[:, None])
        padded = jnp.take_along_axis(waveform, places, axis=1)
    spectrum = spectra(padded, spectrogram.window, hop, waveform.shape[-1] // hop + 1)
    return spectrum.real**2 + spectrum.imag**2


def mirrored(places: jax.Array, length: jax.Array) -> jax.Array:
    """Where places before and behind a sound of some length are in it, as `np.pad` mirrors it."""
    turn = jnp.maximum(2 * (length - 1), 1)
    places = places % turn
    return jnp.minimum(places, turn - places)


def decibels(power: jax.Array, floor: float) -> jax.Array:
    """10 * log10 of power, of which less than `floor` counts as `floor`."""
    return 10.0 * jnp.log10(jnp.maximum(power, floor))


class Frontend(nnx.Module):
    """Waveform -> normalised bands in decibels (N, F, T, C), float32 (Won et al. 2020).

    Of each clip, what lies more than `top_db` below its loudest band counts as just that far below.
    One batch normalisation scales each channel as a whole. In training, SpecAugment's masks (Park
    et al. 2019) are drawn for each clip; what they cover is the mean.

    Args:
        settings: `config.tagger`.
        spectrogram: Of the bands; `log_floor` is the least power.
        channels: C.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        settings: ml_collections.ConfigDict,
        spectrogram: Spectrogram,
        channels: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.spectrogram, self.top_db = spectrogram, settings.top_db
        self.masks = masks_of(settings, bands=1, frames=2)
        self.norm = BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)

    @property
    def bands(self) -> int:
        """Number of bands F."""
        return self.spectrogram.n_mels

    def filters(self) -> jax.Array:
        """(n_fft // 2 + 1, F, C), that the power spectrum is multiplied with."""
        raise NotImplementedError

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, F, T, C)."""
        power, filters = power_spectrum(waveform, self.spectrogram), self.filters()
        bands = jnp.matmul(power, filters.reshape(len(filters), -1), precision="highest")
        bands = bands.reshape(*power.shape[:2], *filters.shape[1:])
        values = jnp.swapaxes(decibels(bands, self.spectrogram.log_floor), 1, 2)
        if self.top_db:
            loudest = jax.lax.stop_gradient(values).max(axis=(1, 2, 3), keepdims=True)
            values = jnp.maximum(values, loudest - self.top_db)
        values = self.norm(values, mask, key is not None)
        return values if key is None else spec_augment(values, self.masks, key)


class MelFrontend(Frontend):
    """Mel bands in one channel.

    The filter bank is stored with the model: that of the published weights differs from a new one
    by 1e-5.
    """

    def __init__(
        self, settings: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        super().__init__(settings, spectrogram, 1, rngs=rngs)
        self.mel_matrix = Constant(jnp.asarray(spectrogram.mel_matrix))

    def filters(self) -> jax.Array:
        """The stored ones, (n_fft // 2 + 1, F, 1)."""
        return self.mel_matrix[...][..., None]
