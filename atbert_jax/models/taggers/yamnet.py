"""YAMNet: MobileNet (Howard et al. 2017) on log-mels, as Google trained it on AudioSet."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.frontend import spectra
from atbert_jax.models.linear import Linear
from atbert_jax.models.spec_augment import masks_of, spec_augment
from atbert_jax.models.taggers.blocks import require_samples
from atbert_jax.models.taggers.network import Network
from atbert_jax.models.taggers.tagger_frontend import Constant

# Of the first convolution, and channels and stride of each separable one behind it.
CHANNELS, STRIDE = 32, 2
LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
KERNEL = 3
# Samples under the window, which the FFT fills up with silence: 25 ms.
WINDOW = 400
HANN = np.hanning(WINDOW + 1)[:-1]


class LogMel(nnx.Module):
    """Waveform -> the logarithm of mel bands of magnitudes, (N, F, T, 1), float32.

    Frames lie within the sound, none reaches over its ends. The filter bank is stored with the
    model: TensorFlow's triangles are even in mel where those of a new one are in Hz, and the
    published ones are rounded.

    Args:
        settings: `config.tagger`; SpecAugment's masks of training cover with silence.
        spectrogram: Of the bands.
    """

    def __init__(self, settings: ml_collections.ConfigDict, spectrogram: Spectrogram) -> None:
        self.spectrogram = spectrogram
        self.masks = masks_of(settings, bands=1, frames=2)
        self.mel_matrix = Constant(jnp.asarray(spectrogram.mel_matrix))

    def __call__(self, waveform: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) to (N, F, T, 1).

        Raises:
            ValueError: if the clips are shorter than a window.
        """
        spectrogram, samples = self.spectrogram, waveform.shape[1]
        require_samples(samples, WINDOW, spectrogram)
        hop = spectrogram.hop_length
        count = (samples - WINDOW) // hop + 1
        magnitudes = jnp.abs(spectra(waveform, HANN, hop, count, spectrogram.n_fft))
        bands = jnp.matmul(magnitudes, self.mel_matrix[...], precision="highest")
        values = jnp.swapaxes(jnp.log(bands + spectrogram.log_floor), 1, 2)[..., None]
        if key is None:
            return values
        return spec_augment(values - spectrogram.silence, self.masks, key) + spectrogram.silence


class Depthwise(nnx.Module):
    """A 3x3 convolution of each channel by itself, with bias, and ReLU.

    It is a sum of nine products, which XLA's CPU code has many times as fast as its convolution
    in as many groups as channels.
    """

    def __init__(self, channels: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        shape = (KERNEL, KERNEL, 1, channels)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), shape) * (2 / KERNEL**2) ** 0.5)
        self.bias = nnx.Param(jnp.zeros(channels))
        self.stride, self.dtype = stride, dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (N, F, T, C) to (N, F', T', C), padded as TensorFlow pads ('SAME')."""
        x, stride = x.astype(self.dtype), self.stride
        sizes = [-(-size // stride) for size in x.shape[1:3]]
        lacking = [
            max((size - 1) * stride + KERNEL - old, 0)
            for size, old in zip(sizes, x.shape[1:3], strict=True)
        ]
        pads = [(0, 0), *[(total // 2, total - total // 2) for total in lacking], (0, 0)]
        x, kernel = jnp.pad(x, pads), self.kernel[...].astype(self.dtype)
        rows, columns = ((size - 1) * stride + 1 for size in sizes)
        total = sum(
            x[:, i : i + rows : stride, j : j + columns : stride] * kernel[i, j]
            for i in range(KERNEL)
            for j in range(KERNEL)
        )
        return nnx.relu(total + self.bias[...].astype(self.dtype))


class Separable(nnx.Module):
    """A depthwise convolution, and one of all channels at each place; ReLU behind both."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        self.depthwise = Depthwise(channels_in, stride, dtype=dtype, rngs=rngs)
        self.pointwise = Linear(channels_in, channels_out, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (N, F, T, C) to (N, F', T', D)."""
        return nnx.relu(self.pointwise(self.depthwise(x)))


class YAMNet(Network):
    """Fourteen convolutions over 0.975 seconds of 64 bands, and their mean over the picture.

    With an output of 521 sounds it has 3 729 481 parameters. It is here for its published weights,
    in which batch normalisation is a part of the convolutions; so it has none, and is slow to learn
    from scratch. Clips may be of any length.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    features = LAYERS[-1][0]

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        settings = {"dtype": jnp.dtype(config.model.dtype), "rngs": rngs}
        self.frontend = LogMel(config.tagger, spectrogram)
        kernel = (KERNEL, KERNEL)
        self.first = nnx.Conv(1, CHANNELS, kernel, strides=(STRIDE, STRIDE), **settings)
        inputs = (CHANNELS, *[channels for channels, _ in LAYERS])
        self.layers = nnx.List(
            [
                Separable(before, channels, stride, **settings)
                for before, (channels, stride) in zip(inputs, LAYERS, strict=False)
            ]
        )

    def pictures(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The output (N, F', T', C) of each layer, of waveforms (N, samples) with mask (N,).

        Raises:
            ValueError: if the clips are shorter than a window.
        """
        del mask  # no statistics are learned here
        found = [nnx.relu(self.first(self.frontend(waveform, key)))]
        for layer in self.layers:
            found.append(layer(found[-1]))
        return found

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 1024); `key=None` is evaluation."""
        return self.pictures(waveform, mask, key)[-1].mean(axis=(1, 2))
