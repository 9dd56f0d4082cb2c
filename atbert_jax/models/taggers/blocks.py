"""The parts that the taggers are built from; PyTorch's paddings, poolings and defaults."""

import functools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.convolution import Convolution
from atbert_jax.models.linear import Linear
from atbert_jax.models.remat import keep

# PyTorch's defaults.
NORM = {"momentum": 0.9, "epsilon": 1e-5}

# The gradient of an array's `max` divides by how often its maximum occurs. XLA may round the array
# otherwise where it looks for the maximum again, finds it nowhere, and the gradient is 0 / 0; so
# none of the maxima here is taken like that.


def max_pool(x: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """The maximum of blocks of (N, ..., C), one size for each axis between; a rest is left out.

    Blocks do not overlap, so it is a maximum of slices of a reshaped array, whose gradient takes
    XLA's CPU code a fraction of the time of a window's.
    """
    for axis, size in enumerate(sizes, start=1):
        count = x.shape[axis] // size
        x = jax.lax.slice_in_dim(x, 0, count * size, axis=axis)
        x = x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :])
        parts = [jax.lax.index_in_dim(x, i, axis + 1, keepdims=False) for i in range(size)]
        x = functools.reduce(jnp.maximum, parts)
    return x


def global_max(x: jax.Array) -> jax.Array:
    """The maximum (N, C) of (N, ..., C)."""
    return axis_max(x.reshape(x.shape[0], -1, x.shape[-1]))


def axis_max(x: jax.Array) -> jax.Array:
    """The maximum (N, ..., C) of (N, M, ..., C); its gradient goes to the first of equals."""
    where = jax.lax.stop_gradient(x).argmax(axis=1, keepdims=True)
    return jnp.take_along_axis(x, where, axis=1)[:, 0]


def require_size(
    samples: int, bands: int, pools: Sequence[Sequence[int]], spectrogram: Spectrogram
) -> None:
    """Checks that something is left of a picture after maxima over these blocks, one by one.

    Args:
        samples: Of a segment.
        bands: Of the picture.
        pools: (frequency, time) of each layer.
        spectrogram: Tells the frames.

    Raises:
        ValueError: if not; the message has the least number.
    """
    least_bands, least_frames = (math.prod(sizes) for sizes in zip(*pools, strict=True))
    if bands < least_bands:
        raise ValueError(
            f"{bands} bands are too few for this tagger: it needs {least_bands}; set"
            " config.spectrogram as it was published"
        )
    require_samples(samples, (least_frames - 1) * spectrogram.hop_length, spectrogram)


def require_samples(samples: int, least: int, spectrogram: Spectrogram) -> None:
    """Checks that a segment is long enough.

    Raises:
        ValueError: if not; the message has the least number of samples.
    """
    if samples < least:
        seconds = math.ceil(1000 * least / spectrogram.sample_rate) / 1000
        raise ValueError(
            f"segments of {samples} samples are too short for this tagger: it needs {least}; set"
            f" config.segmenting.seconds to {seconds} or more"
        )


class Conv(nnx.Module):
    """Convolution with bias and batch normalisation, over (N, F, T, C) or (N, T, C).

    Args:
        channels_in: C.
        channels_out: D.
        kernel: A size for each axis; padded by size // 2 on each side, or by `padding`.
        stride: Of each axis; 1 if not given.
        padding: Before and behind each axis.
        norm: Momentum and epsilon of the normalisation.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Sequence[int],
        *,
        stride: Sequence[int] | None = None,
        padding: Sequence[tuple[int, int]] | None = None,
        norm: Mapping[str, float] = NORM,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        even = [(size // 2, size // 2) for size in kernel]
        self.conv = Convolution(
            channels_in,
            channels_out,
            tuple(kernel),
            strides=tuple(stride or [1] * len(kernel)),
            padding=even if padding is None else list(padding),
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = BatchNorm(channels_out, **norm, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, ..., C) with mask (N,) to (N, ..., D), without activation."""
        return self.norm(keep(self.conv(x)), mask, train)


class ConvPool(Conv):
    """`Conv`, ReLU and a maximum over blocks of the size `pool`."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Sequence[int],
        *,
        pool: Sequence[int],
        stride: Sequence[int] | None = None,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride=stride, dtype=dtype, rngs=rngs)
        self.pool = tuple(pool)

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, ..., C) with mask (N,) to (N, ..., D)."""
        return max_pool(nnx.relu(super().__call__(x, mask, train)), self.pool)


class Residual(nnx.Module):
    """Two convolutions beside a shortcut, ReLU, and a maximum over blocks of the size `pool`.

    The first convolution has the stride. The shortcut is the input itself; where stride or channels
    change, it is a convolution of the same kernel and stride.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Sequence[int],
        *,
        pool: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        def conv(channels: int, stride: Sequence[int] | None) -> Conv:
            return Conv(channels, channels_out, kernel, stride=stride, dtype=dtype, rngs=rngs)

        self.pool = tuple(pool or [1] * len(kernel))
        self.first, self.second = conv(channels_in, stride), conv(channels_out, None)
        changes = channels_in != channels_out or math.prod(stride or [1]) > 1
        self.shortcut = conv(channels_in, stride) if changes else None

    def branch(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """What is added to the shortcut."""
        return self.second(nnx.relu(self.first(x, mask, train)), mask, train)

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, ..., C) with mask (N,) to (N, ..., D)."""
        y = self.branch(x, mask, train)
        y += x if self.shortcut is None else self.shortcut(x, mask, train)
        return max_pool(nnx.relu(y), self.pool)


class Dense(nnx.Module):
    """Linear, batch normalisation, ReLU: what stands before the output of most taggers."""

    def __init__(
        self, features_in: int, features_out: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        self.linear = Linear(features_in, features_out, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(features_out, **NORM, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, C) with mask (N,) to (N, D)."""
        return self.norm(keep(self.linear(x)), mask, train, relu=True)
