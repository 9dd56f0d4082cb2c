"""The ResNets over log-mel segments that ATBERT and AVBert hear with."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models.batch_norm import BatchNorm

STEM_KERNEL = 9
# Of AVBert's CNN: in these stages the 3x3 convolutions are split.
SEPARABLE_STAGES = 2

Pair = tuple[int, int]


class ConvNorm(nnx.Module):
    """Convolution without bias, then batch normalisation over the real segments.

    Args:
        channels_in: C.
        channels_out: D.
        kernel: Sizes in frequency and time; padded as PyTorch does, by size // 2 on each side.
        stride: Of the two axes.
        dtype: Compute type.
        rngs: Keys of the initial values.
        zero: Start with a normalisation scale of 0, so that a residual block starts as identity.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Pair,
        *,
        stride: Pair = (1, 1),
        zero: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.kernel, self.stride, self.dtype = kernel, stride, dtype
        self.conv = nnx.Conv(
            channels_in,
            channels_out,
            kernel,
            strides=stride,
            padding=[(size // 2, size // 2) for size in kernel],
            use_bias=False,
            kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = BatchNorm(
            channels_out,
            momentum=0.9,
            epsilon=1e-5,
            scale_init=nnx.initializers.zeros if zero else nnx.initializers.ones,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, F, T, C) with mask (N,) to (N, F', T', D)."""
        if self.kernel == (1, 1):
            # A product of two matrices: XLA's CPU gradients of 1x1 convolutions, and of products
            # with more axes, take several times as long.
            x = x[:, :: self.stride[0], :: self.stride[1]].astype(self.dtype)
            kernel = self.conv.kernel[0, 0].astype(self.dtype)
            x = (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)
        else:
            x = self.conv(x)
        return self.norm(x, mask, train)


class Separable(nnx.Module):
    """A square convolution as two: along frequency, ReLU, along time (AVBert)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.frequency = ConvNorm(
            channels_in, channels_out, (kernel, 1), stride=(stride, 1), dtype=dtype, rngs=rngs
        )
        self.time = ConvNorm(
            channels_out, channels_out, (1, kernel), stride=(1, stride), dtype=dtype, rngs=rngs
        )

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, F, T, C) with mask (N,) to (N, F', T', D)."""
        return self.time(nnx.relu(self.frequency(x, mask, train)), mask, train)


def square(
    channels_in: int,
    channels_out: int,
    kernel: int,
    *,
    stride: int = 1,
    separable: bool,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
) -> ConvNorm | Separable:
    """A convolution with a square kernel, in one or in two parts."""
    if separable:
        return Separable(channels_in, channels_out, kernel, stride=stride, dtype=dtype, rngs=rngs)
    size, strides = (kernel, kernel), (stride, stride)
    return ConvNorm(channels_in, channels_out, size, stride=strides, dtype=dtype, rngs=rngs)


class Bottleneck(nnx.Module):
    """The residual block of ResNet-50 (He et al. 2015; stride on the 3x3, as torchvision)."""

    def __init__(
        self,
        channels_in: int,
        width: int,
        *,
        stride: int,
        separable: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        channels_out = 4 * width
        self.reduce = ConvNorm(channels_in, width, (1, 1), dtype=dtype, rngs=rngs)
        self.conv = square(
            width, width, 3, stride=stride, separable=separable, dtype=dtype, rngs=rngs
        )
        self.expand = ConvNorm(width, channels_out, (1, 1), zero=True, dtype=dtype, rngs=rngs)
        self.shortcut = (
            ConvNorm(
                channels_in, channels_out, (1, 1), stride=(stride, stride), dtype=dtype, rngs=rngs
            )
            if stride > 1 or channels_in != channels_out
            else None
        )

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, F, T, C) with mask (N,) to (N, F', T', 4 * width)."""
        y = nnx.relu(self.reduce(x, mask, train))
        y = nnx.relu(self.conv(y, mask, train))
        y = self.expand(y, mask, train)
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x, mask, train)))


class ResNet(nnx.Module):
    """The audio CNN: a stem of stride 1 with kernel 9, no pooling, four stages, a global average.

    With depths (3, 4, 6, 3) it is ATBERT's ResNet-50 (width 64, 23 503 808 parameters), or AVBert's
    separable one (width 32, 5 839 840): that halves both axes in the first stage too, and splits
    the stem and the 3x3 convolutions of the first two stages into frequency and time. Padded
    segments take no part in the statistics of batch normalisation.

    Args:
        depths: Number of blocks of each stage; stages halve both axes.
        width: Channels of the stem, W; stage i ends with 4 * W * 2^i.
        separable: AVBert's form.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        depths: Sequence[int],
        width: int,
        *,
        separable: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.stem = square(1, width, STEM_KERNEL, separable=separable, dtype=dtype, rngs=rngs)
        blocks = []
        channels = width
        for stage, depth in enumerate(depths):
            for number in range(depth):
                inner = width * 2**stage
                blocks.append(
                    Bottleneck(
                        channels,
                        inner,
                        stride=2 if not number and (stage or separable) else 1,
                        separable=separable and stage < SEPARABLE_STAGES,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                channels = 4 * inner
        self.blocks = nnx.List(blocks)
        self.features, self.audio_input = channels, "log_mel"

    def __call__(self, log_mel: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Describes every segment.

        Args:
            log_mel: (N, F, T), normalised.
            mask: (N,), 1 = real.
            key: None = evaluation; else normalise by the batch and update the running statistics.

        Returns:
            (N, features).
        """
        train = key is not None
        x = nnx.relu(self.stem(log_mel[..., None], mask, train))
        for block in self.blocks:
            x = block(x, mask, train)
        return jnp.mean(x, axis=(1, 2))
