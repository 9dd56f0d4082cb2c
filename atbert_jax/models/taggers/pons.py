"""MusiCNN and VGG of the musicnn library (Pons and Serra 2019), as its weights have them.

Normalisations stand behind the ReLU, and add 0.001 to the variance.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.encoded import drop, fold
from atbert_jax.models.linear import Linear
from atbert_jax.models.remat import keep
from atbert_jax.models.spec_augment import masks_of, spec_augment
from atbert_jax.models.taggers.blocks import Conv, axis_max, max_pool, require_samples
from atbert_jax.models.taggers.musicnn import (
    KERNEL,
    MIDDLE_LAYERS,
    NARROW,
    TEMPORAL,
    TIMBRAL,
    WIDE,
    windows,
)
from atbert_jax.models.taggers.network import Network
from atbert_jax.models.taggers.tagger_frontend import power_spectrum

# In the order of the published weights.
TIMBRAL_SHARES, TEMPORAL_FRAMES = (0.4, 0.7), (128, 64, 32)
NORM = {"momentum": 0.99, "epsilon": 1e-3}
CHANNELS = 128
# (frequency, time) under each maximum of the VGG: as published for MagnaTagATune, where the first
# one is of 4 frames every 2 at every other band, and for MSD.
OVERLAPPING = ((2, 2), (2, 2), (2, 2), (2, 2), (4, 4))
APART = ((1, 4), (4, 1), (2, 2), (2, 2), (4, 4))
# (frequency, time) of what is left of 96 bands and 187 frames.
CELLS = (1, 2)


class CompressedMel(nnx.Module):
    """Waveform -> log10(1 + mel / floor), normalised as a whole: (N, F, T, 1), float32.

    With the published floor, 0.0001, it is log10(10000 mel + 1) of librosa's mel spectrogram whose
    edges are mirrored, as librosa's were in 2019. Its last frame lies half behind the sound, and is
    left out: so 187 hops are the published 187 frames. The library rounds mels to 16 bits, in which
    10000 times one of more than 6.55 is infinite; here nothing is rounded.

    In training, what SpecAugment's masks cover is the mean.

    Args:
        settings: `config.tagger`.
        spectrogram: Of the bands; `log_floor` is the floor.
        rngs: Keys of the initial values.
    """

    def __init__(
        self, settings: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        self.spectrogram = spectrogram
        self.masks = masks_of(settings, bands=1, frames=2)
        self.norm = BatchNorm(1, **NORM, rngs=rngs)

    def compressed(self, waveform: jax.Array) -> jax.Array:
        """What is normalised, (N, T, F).

        Raises:
            ValueError: if the clips are shorter than a hop.
        """
        spectrogram, samples = self.spectrogram, waveform.shape[1]
        require_samples(samples, spectrogram.hop_length, spectrogram)
        power = power_spectrum(waveform, spectrogram)[:, : samples // spectrogram.hop_length]
        mel = jnp.matmul(power, spectrogram.mel_matrix, precision="highest")
        return jnp.log1p(mel / spectrogram.log_floor) / math.log(10)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, F, T, 1)."""
        values = jnp.swapaxes(self.compressed(waveform), 1, 2)[..., None]
        values = self.norm(values, mask, key is not None)
        return values if key is None else spec_augment(values, self.masks, key)


class Layer(Conv):
    """A convolution, ReLU, and batch normalisation behind it.

    Args:
        channels_in: C.
        channels_out: D.
        kernel: (frequency, time).
        whole: Pad frequencies, too; else those at the edges are lost. Time always stays as long
            as it is, with one more frame of padding behind than before where the kernel is even.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Sequence[int],
        *,
        whole: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        pads = [((size - 1) // 2, size // 2) for size in kernel]
        super().__init__(
            channels_in,
            channels_out,
            kernel,
            padding=pads if whole else [(0, 0), pads[1]],
            norm=NORM,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, F, T, C) with mask (N,) to (N, F', T, D)."""
        return self.norm(nnx.relu(keep(self.conv(x))), mask, train)


class PonsMusiCNN(Network):
    """Filters of musical shapes over 3 seconds, then convolutions over time and poolings of all.

    With an output of 50 tags it has 787 159 parameters, `config.tagger.wide` 7 980 235. As
    published, `config.tagger.dropout` is 0.5. Filters for rhythm are maxima over the bands, and not
    filters of their mean as in the paper and in `MusiCNN`. Clips may be of any length.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        settings = {"dtype": jnp.dtype(config.model.dtype), "rngs": rngs}
        channels, self.features = WIDE if config.tagger.wide else NARROW
        self.frontend = CompressedMel(config.tagger, spectrogram, rngs=rngs)
        self.heights = tuple(int(share * spectrogram.n_mels) for share in TIMBRAL_SHARES)
        self.timbral = nnx.List(
            [Layer(height, TIMBRAL, (1, KERNEL), **settings) for height in self.heights]
        )
        self.temporal = nnx.List(
            [Layer(1, TEMPORAL, (1, frames), **settings) for frames in TEMPORAL_FRAMES]
        )
        front = TIMBRAL * len(self.timbral) + TEMPORAL * len(self.temporal)
        widths = [front] + [channels] * (MIDDLE_LAYERS - 1)
        self.middle = nnx.List(
            [Layer(width, channels, (1, KERNEL), **settings) for width in widths]
        )
        pooled = 2 * (front + channels * MIDDLE_LAYERS)
        self.pooled_norm = BatchNorm(pooled, **NORM, dtype=settings["dtype"], rngs=rngs)
        self.dense = Linear(pooled, self.features, **settings)
        self.dense_norm = BatchNorm(self.features, **NORM, dtype=settings["dtype"], rngs=rngs)
        self.dropout = nnx.Dropout(config.tagger.dropout)

    def pictures(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The output (N, T, C) of the filters and each layer of waveforms (N, samples).

        Raises:
            ValueError: if the clips are shorter than a hop.
        """
        train = key is not None
        bands = self.frontend(waveform, mask, key)
        timbre = [
            axis_max(layer(windows(bands, height), mask, train))
            for height, layer in zip(self.heights, self.timbral, strict=True)
        ]
        rhythm = [axis_max(layer(bands, mask, train)) for layer in self.temporal]
        x = jnp.concatenate(timbre + rhythm, axis=-1)
        found = [x]
        for number, layer in enumerate(self.middle):
            x = layer(x[:, None], mask, train)[:, 0] + (x if number else 0)
            found.append(x)
        return found

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, D); `key=None` is evaluation."""
        x, train = jnp.concatenate(self.pictures(waveform, mask, key), axis=-1), key is not None
        # The maximum and the mean of each channel side by side.
        x = jnp.stack([axis_max(x), x.mean(axis=1)], axis=-1).reshape(x.shape[0], -1)
        x = drop(self.dropout, self.pooled_norm(x, mask, train), fold(key, 1))
        return self.dense_norm(nnx.relu(keep(self.dense(x))), mask, train)


class PonsVGG(Network):
    """Five convolutions of 3x3 with maxima, and all that is left of 187 frames.

    With an output of 50 tags it has 605 748 parameters. As published, `config.tagger.dropout` is
    0.25, behind each maximum but the last. The first two maxima are others for MSD
    (`config.tagger.apart`): so says the graph that is published beside those weights, while the
    library's code runs them with the maxima of MagnaTagATune.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    features = CELLS[0] * CELLS[1] * CHANNELS

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        settings = {"dtype": jnp.dtype(config.model.dtype), "rngs": rngs}
        self.frontend = CompressedMel(config.tagger, spectrogram, rngs=rngs)
        self.apart = config.tagger.apart
        self.pools = APART if self.apart else OVERLAPPING
        widths = (1, *[CHANNELS] * (len(self.pools) - 1))
        self.layers = nnx.List(
            [Layer(width, CHANNELS, (3, 3), whole=True, **settings) for width in widths]
        )
        self.dropout = nnx.Dropout(config.tagger.dropout)

    def pictures(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The output (N, F', T', 128) of each maximum, of waveforms (N, samples) with mask (N,).

        Raises:
            ValueError: if clips or bands are fewer or more than it was made for.
        """
        self._require_size(waveform.shape[1])
        x, found = self.frontend(waveform, mask, key), []
        for number, (layer, pool) in enumerate(zip(self.layers, self.pools, strict=True)):
            x = layer(x, mask, key is not None)
            x = max_pool(x, pool) if number or self.apart else overlapping_pool(x)
            found.append(x)
            x = drop(self.dropout, x, fold(key, number + 1))
        return found

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 256); `key=None` is evaluation."""
        x = self.pictures(waveform, mask, key)[-1]
        return jnp.swapaxes(x, 1, 2).reshape(x.shape[0], -1)

    def _require_size(self, samples: int) -> None:
        spectrogram = self.frontend.spectrogram
        bands, frames = (math.prod(sizes) for sizes in zip(*self.pools, strict=True))
        if not CELLS[0] * bands <= spectrogram.n_mels < (CELLS[0] + 1) * bands:
            raise ValueError(
                f"{spectrogram.n_mels} bands are not what this tagger was made for; set"
                " --config.spectrogram.n_mels=96"
            )
        # Overlapping, the first maximum reaches over 2 frames of the next.
        least = (CELLS[1] * frames + (0 if self.apart else 2)) * spectrogram.hop_length
        require_samples(samples, least, spectrogram)
        most = least + frames * spectrogram.hop_length - 1
        if samples > most:
            seconds = math.floor(1000 * most / spectrogram.sample_rate) / 1000
            raise ValueError(
                f"segments of {samples} samples are too long for this tagger: it takes at most"
                f" {most}; set config.segmenting.seconds to {seconds} or less"
            )


def overlapping_pool(x: jax.Array) -> jax.Array:
    """Every other band, and the maximum of 4 frames every 2: (N, F, T, C) to (N, F', T', C)."""
    pairs = max_pool(x[:, ::2], (1, 2))
    return jnp.maximum(pairs[:, :, :-1], pairs[:, :, 1:])
