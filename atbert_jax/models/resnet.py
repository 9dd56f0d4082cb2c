"""The ResNets over log-mel segments that ATBERT and AVBert hear with."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax import choices
from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.convolution import Convolution
from atbert_jax.models.group_norm import GroupNorm
from atbert_jax.models.pointwise import pointwise, widening
from atbert_jax.models.remat import keep, rematerialized
from atbert_jax.models.taggers.blocks import max_pool

STEM_KERNEL = 9
# Of AVBert's CNN: in these stages the 3x3 convolutions are split.
SEPARABLE_STAGES = 2

STEMS = ("full", "strided")
NORMS = ("batch", "frozen", "group")

Pair = tuple[int, int]
# The defaults of a ResNet in `config.model`, beside its sizes.
DEFAULTS = {
    "separable": False,  # AVBert's CNN, which is published with width 32
    # 'full' is ATBERT's; 'strided' leaves it a sixteenth of the positions, and is as much
    # cheaper: for long log-mels of many bands, where 'full' fits no chip.
    "stem": "full",
    "norm": "batch",  # or 'frozen' (running statistics), 'group'
}


def make_norm(
    kind: str, channels: int, *, zero: bool, dtype: jnp.dtype, rngs: nnx.Rngs
) -> nnx.Module:
    """One of `NORMS`; 'frozen' goes by its running statistics, in training too."""
    scale_init = nnx.initializers.zeros if zero else nnx.initializers.ones
    if kind == "group":
        return GroupNorm(channels, scale_init=scale_init, dtype=dtype, rngs=rngs)
    return BatchNorm(
        channels,
        momentum=0.9,
        epsilon=1e-5,
        use_running_average=kind == "frozen",
        scale_init=scale_init,
        dtype=dtype,
        rngs=rngs,
    )


class ConvNorm(nnx.Module):
    """Convolution without bias, then a normalisation, by default of the batch of real segments.

    Args:
        channels_in: C.
        channels_out: D.
        kernel: Sizes in frequency and time; padded as PyTorch does, by size // 2 on each side.
        stride: Of the two axes.
        norm: One of `NORMS`.
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
        norm: str,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.kernel, self.stride, self.dtype = kernel, stride, dtype
        self.conv = Convolution(
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
        self.norm = make_norm(norm, channels_out, zero=zero, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        train: bool,
        *,
        relu: bool = False,
        residual: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (N, F, T, C) with mask (N,) to (N, F', T', D).

        Args:
            x: (N, F, T, C).
            mask: (N,), 1 = real.
            train: Normalise by the batch and update the running statistics.
            relu: Whether a ReLU ends it.
            residual: What is added before that, (N, F', T', D).
        """
        if self.kernel == (1, 1):
            x = x[:, :: self.stride[0], :: self.stride[1]].astype(self.dtype)
            kernel = self.conv.kernel[0, 0]
            if self.conv.out_features > self.conv.in_features and self.norm.learns(train):
                return widening(x, kernel, self.norm, mask, relu=relu, residual=residual)
            x = pointwise(x, kernel)
        else:
            x = self.conv(x)
        y = self.norm(keep(x), mask, train, relu=relu and residual is None)
        return y if residual is None else nnx.relu(y + residual)


class Separable(nnx.Module):
    """A square convolution as two: along frequency, ReLU, along time (AVBert)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        norm: str,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        make = functools.partial(ConvNorm, norm=norm, dtype=dtype, rngs=rngs)
        self.frequency = make(channels_in, channels_out, (kernel, 1), stride=(stride, 1))
        self.time = make(channels_out, channels_out, (1, kernel), stride=(1, stride))

    def __call__(
        self, x: jax.Array, mask: jax.Array, train: bool, *, relu: bool = False
    ) -> jax.Array:
        """Maps (N, F, T, C) with mask (N,) to (N, F', T', D)."""
        return self.time(self.frequency(x, mask, train, relu=True), mask, train, relu=relu)


def square(
    channels_in: int,
    channels_out: int,
    kernel: int,
    *,
    stride: int = 1,
    separable: bool,
    **settings: Any,
) -> ConvNorm | Separable:
    """A convolution with a square kernel, in one or in two parts; `settings` are theirs."""
    if separable:
        return Separable(channels_in, channels_out, kernel, stride=stride, **settings)
    size, strides = (kernel, kernel), (stride, stride)
    return ConvNorm(channels_in, channels_out, size, stride=strides, **settings)


class Bottleneck(nnx.Module):
    """The residual block of ResNet-50 (He et al. 2015; stride on the 3x3, as torchvision)."""

    def __init__(
        self,
        channels_in: int,
        width: int,
        *,
        stride: int,
        separable: bool,
        norm: str,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        channels_out = 4 * width
        settings = {"norm": norm, "dtype": dtype, "rngs": rngs}
        make = functools.partial(ConvNorm, **settings)
        self.reduce = make(channels_in, width, (1, 1))
        self.conv = square(width, width, 3, stride=stride, separable=separable, **settings)
        self.expand = make(width, channels_out, (1, 1), zero=True)
        changes = stride > 1 or channels_in != channels_out
        self.shortcut = (
            make(channels_in, channels_out, (1, 1), stride=(stride, stride)) if changes else None
        )

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, F, T, C) with mask (N,) to (N, F', T', 4 * width)."""
        residual = x if self.shortcut is None else self.shortcut(x, mask, train)
        y = self.reduce(x, mask, train, relu=True)
        y = self.conv(y, mask, train, relu=True)
        return self.expand(y, mask, train, relu=True, residual=residual)


class ResNet(nnx.Module):
    """The audio CNN: a stem of kernel 9, by default of stride 1, four stages, a global average.

    With depths (3, 4, 6, 3) it is ATBERT's ResNet-50 (width 64, 23 503 808 parameters), or AVBert's
    separable one (width 32, 5 839 840): that halves both axes in the first stage too, and splits
    the stem and the 3x3 convolutions of the first two stages into frequency and time. Padded
    segments take no part in the statistics of batch normalisation.

    Args:
        depths: Number of blocks of each stage; stages halve both axes.
        width: Channels of the stem, W; stage i ends with 4 * W * 2^i.
        separable: AVBert's form.
        stem: 'full', or 'strided', which halves both axes twice, by its stride and by maxima, as
            the stems of pictures do: a sixteenth of the positions, and of what they cost.
        norm: 'batch'; 'frozen', which goes by running statistics that come with other weights and
            never changes them; or 'group', which needs no statistics.
        remat: Keep convolutions alone for the backward pass, and compute the rest again.
        dtype: Compute type.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such stem or normalisation.
    """

    def __init__(
        self,
        depths: Sequence[int],
        width: int,
        *,
        separable: bool = False,
        stem: str = "full",
        norm: str = "batch",
        remat: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        choices.require("config.model.stem", stem, STEMS)
        choices.require("config.model.norm", norm, NORMS)
        settings = {"norm": norm, "dtype": dtype, "rngs": rngs}
        self.strided, self.remat = stem == "strided", remat
        stride = 2 if self.strided else 1
        self.stem = square(1, width, STEM_KERNEL, stride=stride, separable=separable, **settings)
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
                        **settings,
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
        x = self.stem(log_mel[..., None], mask, train, relu=True)
        if self.strided:
            x = max_pool(x, (2, 2))
        call = Bottleneck.__call__
        if self.remat:
            call = rematerialized(call, static=(3,))
        for block in self.blocks:
            x = call(block, x, mask, train)
        return jnp.mean(x, axis=(1, 2))
