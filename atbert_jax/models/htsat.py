"""HTSAT (Chen et al. 2022), of CLAP: a Swin transformer (Liu et al. 2021) on folded log-mels.

Ten seconds of 64 bands are stretched to 1024 frames and folded into a square picture, four quarters
of the time above each other, which stages of windowed attention halve three times. It computes what
transformers' `ClapAudioModel` does, without stochastic depth, whose rate is 0 in the published
models.
"""

import functools
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax.models import remat as rematerializing
from atbert_jax.models.attention import attend
from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.convolution import Convolution
from atbert_jax.models.encoded import drop, fold
from atbert_jax.models.linear import Linear
from atbert_jax.models.spec_augment import Masks, spec_augment
from atbert_jax.models.transformer import ACTIVATIONS, TABLE_INITIALIZER

EPSILON = 1e-5
LayerNorm = functools.partial(nnx.LayerNorm, epsilon=EPSILON, use_fast_variance=False)
# Height and width of the picture, of its patches, and of attention's windows in patches.
PICTURE, PATCH, WINDOW = 256, 4, 8
BANDS = 64
# Quarters of the time that lie above each other.
QUARTERS = PICTURE // BANDS
FRAMES = PICTURE * QUARTERS
# After so many the picture is one window.
STAGES = 4
# Of a crop's patch, in patches of the whole: three crops side by side are as wide as the whole.
CROPS = 3
# Inner width of a feed-forward block, and of the weighing of crops, by the outer one.
WIDENING, NARROWING = 4, 4


@functools.cache
def stretching(frames: int) -> np.ndarray:
    """Bicubic interpolation to `FRAMES` frames, as a matrix (FRAMES, frames), float32.

    The first and the last frame stay where they are, and what lies beyond them is like them;
    Keys' (1981) kernel with a = -0.75 at places that are rounded to float32, as PyTorch has it.
    """
    places = np.arange(FRAMES, dtype=np.float32) * np.float32((frames - 1) / (FRAMES - 1))
    first = np.floor(places).astype(int)
    matrix = np.zeros((FRAMES, frames))
    for offset in (-1, 0, 1, 2):
        x = np.abs(places - first - offset)
        near = 1.25 * x**3 - 2.25 * x**2 + 1
        far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        weights = np.where(x <= 1, near, far)
        np.add.at(matrix, (np.arange(FRAMES), np.clip(first + offset, 0, frames - 1)), weights)
    return matrix.astype(np.float32)


def fold_time(log_mel: jax.Array) -> jax.Array:
    """Log-mels (N, T, F) of at most `FRAMES` frames as pictures (N, P, P): quarters in rows."""
    if log_mel.shape[1] != FRAMES:
        matrix = stretching(log_mel.shape[1])
        log_mel = jnp.einsum("st,ntf->nsf", matrix, log_mel, precision="highest")
    quarters = log_mel.reshape(log_mel.shape[0], QUARTERS, PICTURE, BANDS)
    return jnp.swapaxes(quarters, 2, 3).reshape(log_mel.shape[0], PICTURE, PICTURE)


def window_places(size: int) -> np.ndarray:
    """The row of the table of biases for each two places of a window, (size^2, size^2)."""
    rows, columns = np.divmod(np.arange(size**2), size)
    vertical, horizontal = (each[:, None] - each + size - 1 for each in (rows, columns))
    return vertical * (2 * size - 1) + horizontal


def window_mask(side: int, size: int, shift: int) -> np.ndarray:
    """Which places of a window were neighbours before the shift, (W, 1, size^2, size^2), bool."""
    index = np.arange(side)
    region = (index >= side - size).astype(int) + (index >= side - shift)
    regions = (3 * region[:, None] + region)[None, :, :, None]
    (flat,) = np.asarray(split_windows(regions, size)).reshape(1, -1, size**2)
    return (flat[:, :, None] == flat[:, None])[:, None]


def split_windows(x: jax.Array, size: int) -> jax.Array:
    """(N, H, W, C) to (N * windows, size^2, C)."""
    count, height, width, channels = x.shape
    x = x.reshape(count, height // size, size, width // size, size, channels)
    return x.swapaxes(2, 3).reshape(-1, size**2, channels)


def join_windows(x: jax.Array, size: int, side: int) -> jax.Array:
    """The way back of `split_windows`, for squares: (N, H, H, C)."""
    x = x.reshape(-1, side // size, side // size, size, size, x.shape[-1])
    return x.swapaxes(2, 3).reshape(-1, side, side, x.shape[-1])


class SwinLayer(nnx.Module):
    """Attention within windows and a feed-forward block, each on normalised input.

    Args:
        width: C.
        heads: H, which divide it.
        side: Height and width of the picture.
        shifted: Windows lie half a window further, so that states hear across their edges.
        dropout: Of the feed-forward block's output.
        dtype: Compute type.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        side: int,
        *,
        shifted: bool,
        dropout: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        if width % heads:
            raise ValueError(f"config.clap.heads: {heads} heads do not divide a width of {width}")
        make = functools.partial(Linear, dtype=dtype, rngs=rngs)
        self.heads, self.side = heads, side
        self.size = min(WINDOW, side)
        # A window that is the whole picture has no edges to hear across.
        self.shift = self.size // 2 if shifted and side > WINDOW else 0
        self.attention_norm = LayerNorm(width, dtype=dtype, rngs=rngs)
        shape = ((2 * self.size - 1) ** 2, heads)
        self.place_bias = nnx.Param(TABLE_INITIALIZER(rngs.params(), shape, jnp.float32))
        self.query = make(width, width, "embed", "heads")
        self.key = make(width, width, "embed", "heads")
        self.value = make(width, width, "embed", "heads")
        self.attention_output = make(width, width, "heads", "embed")
        self.ffn_norm = LayerNorm(width, dtype=dtype, rngs=rngs)
        self.ffn = make(width, WIDENING * width, "embed", "mlp")
        self.ffn_output = make(WIDENING * width, width, "mlp", "embed")
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps pictures (N, H, H, C) to (N, H, H, C); key None is evaluation."""
        shift, size = self.shift, self.size
        y = self.attention_norm(x)
        y = split_windows(jnp.roll(y, (-shift, -shift), (1, 2)), size)
        mask = None
        if shift:
            mask = jnp.asarray(window_mask(self.side, size, shift))
            mask = jnp.broadcast_to(mask, (x.shape[0], *mask.shape)).reshape(-1, *mask.shape[1:])
        bias = self.place_bias[...][window_places(size)].transpose(2, 0, 1)[None]
        y = attend(
            self.query(y),
            self.key(y),
            self.value(y),
            mask,
            heads=self.heads,
            bias=bias.astype(y.dtype),
        )
        y = join_windows(self.attention_output(y), size, self.side)
        x = x + jnp.roll(y, (shift, shift), (1, 2))
        y = self.ffn_output(ACTIVATIONS["gelu"](self.ffn(self.ffn_norm(x))))
        return x + drop(self.dropout, y, key)


class PatchMerging(nnx.Module):
    """Each square of four patches becomes one, of twice the width."""

    def __init__(self, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.norm = LayerNorm(4 * width, dtype=dtype, rngs=rngs)
        self.reduction = Linear(4 * width, 2 * width, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (N, H, H, C) to (N, H / 2, H / 2, 2 C)."""
        parts = [x[:, row::2, column::2] for column in range(2) for row in range(2)]
        return self.reduction(self.norm(jnp.concatenate(parts, axis=-1)))


class Weighing(nnx.Module):
    """One half of attentional feature fusion (Dai et al. 2021): two maps with normalisations."""

    def __init__(self, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        inner = width // NARROWING
        norm = functools.partial(BatchNorm, momentum=0.9, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.narrow = Linear(width, inner, dtype=dtype, rngs=rngs)
        self.narrow_norm = norm(inner)
        self.widen = Linear(inner, width, dtype=dtype, rngs=rngs)
        self.widen_norm = norm(width)

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps (N, H, W, C) to (N, H, W, C); statistics are of rows with mask (N,) 1."""
        x = self.narrow_norm(self.narrow(x), mask, train, relu=True)
        return self.widen_norm(self.widen(x), mask, train)


class PatchEmbedding(nnx.Module):
    """Pictures -> patches; of a long clip crops of it beside the whole, which are weighed.

    Args:
        width: C, of a patch.
        fused: Whether there are crops, CLAP's feature fusion.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(self, width: int, *, fused: bool, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        def convolution(columns: int) -> Convolution:
            kernel = (PATCH, columns)
            settings = {"strides": kernel, "padding": [(0, 0)] * 2, "dtype": dtype}
            return Convolution(1, width, kernel, **settings, rngs=rngs)

        self.fused = fused
        self.whole = convolution(PATCH)
        self.norm = LayerNorm(width, dtype=dtype, rngs=rngs)
        if fused:
            self.crops = convolution(CROPS * PATCH)
            self.local = Weighing(width, dtype=dtype, rngs=rngs)
            self.overall = Weighing(width, dtype=dtype, rngs=rngs)

    def __call__(self, pictures: jax.Array, longer: jax.Array, train: bool) -> jax.Array:
        """Maps pictures (N, V, P, P) to (N, P / 4, P / 4, C).

        Args:
            pictures: The first view is the whole; where they are fused, three crops are behind it.
            longer: (N,), 1 = the crops are others than the whole, and count.
            train: Whether batch normalisation learns.
        """
        x = self.whole(pictures[:, 0, ..., None])
        if self.fused:
            crops = self.crops(pictures[:, 1:].reshape(-1, PICTURE, PICTURE, 1))
            crops = crops.reshape(pictures.shape[0], CROPS, *crops.shape[1:]).swapaxes(1, 2)
            crops = crops.reshape(*crops.shape[:2], -1, crops.shape[-1])
            lacking = x.shape[2] - crops.shape[2]
            crops = jnp.pad(crops, [(0, 0), (0, 0), (0, lacking), (0, 0)])
            both = x + crops
            mean = both.mean(axis=(1, 2), keepdims=True)
            weight = self.local(both, longer, train) + self.overall(mean, longer, train)
            weight = jax.nn.sigmoid(weight)
            fused = 2 * x * weight + 2 * crops * (1 - weight)
            x = jnp.where(longer[:, None, None, None] > 0, fused, x)
        return self.norm(x)


class HTSAT(nnx.Module):
    """Log-mels of ten seconds -> states of 8 x 8 places, whose mean is the vector of the clip.

    Args:
        settings: `config.clap`: `patch_width` C, `depths`, `heads` of each stage.
        fused: See `PatchEmbedding`.
        masks: What SpecAugment does to frames (axis 2) and bands (axis 3) in training.
        dropout: Of the feed-forward blocks' output.
        remat: Layers compute most of what they need again in the backward pass.
        dtype: Compute type.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there are not as many depths as heads, or more than 4, or heads do not divide
            their width.
    """

    def __init__(
        self,
        settings: ml_collections.ConfigDict,
        *,
        fused: bool,
        masks: Masks,
        dropout: float,
        remat: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        depths, heads = tuple(settings.depths), tuple(settings.heads)
        if len(depths) != len(heads) or not 0 < len(depths) <= STAGES:
            raise ValueError(
                f"config.clap.depths={depths} and heads={heads} are of each stage; give as many, 1"
                f" to {STAGES}"
            )
        self.remat, self.masks = remat, masks
        width, side = settings.patch_width, PICTURE // PATCH
        self.width = width * 2 ** (len(depths) - 1)
        self.band_norm = BatchNorm(BANDS, momentum=0.9, epsilon=EPSILON, rngs=rngs)
        self.patches = PatchEmbedding(width, fused=fused, dtype=dtype, rngs=rngs)
        stages, mergings = [], []
        for number, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            layers = [
                SwinLayer(
                    width * 2**number,
                    count,
                    side // 2**number,
                    shifted=layer % 2 == 1,
                    dropout=dropout,
                    dtype=dtype,
                    rngs=rngs,
                )
                for layer in range(depth)
            ]
            stages.append(nnx.List(layers))
            if number + 1 < len(depths):
                mergings.append(PatchMerging(width * 2**number, dtype=dtype, rngs=rngs))
        self.stages, self.mergings = nnx.List(stages), nnx.List(mergings)
        self.norm = LayerNorm(self.width, dtype=dtype, rngs=rngs)

    def states(
        self, views: jax.Array, longer: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The patches, and what each stage makes of them.

        Args:
            views: Log-mels (N, V, T, F), of at most 1024 frames and 64 bands.
            longer: See `PatchEmbedding`.
            mask: (N,), 1 = a real clip.
            key: Of the masks and the dropout; None = evaluation.

        Returns:
            (N, places, C) each; the last ones, of `width` channels, are normalised.
        """
        train, shape = key is not None, views.shape
        x = views.reshape(shape[0], -1, BANDS)
        x = self.band_norm(x, mask, train).reshape(shape)
        if train:  # what is covered is the mean
            x = spec_augment(x, self.masks, fold(key, STAGES * 100))
        pictures = fold_time(x.reshape(-1, *shape[2:])).reshape(*shape[:2], PICTURE, PICTURE)
        x = self.patches(pictures, longer * mask, train)
        found = [x]
        for number, stage in enumerate(self.stages):
            for place, layer in enumerate(stage):
                own = fold(key, 100 * number + place)
                x = rematerializing.apply(layer, x, own, remat=self.remat)
            if number < len(self.mergings):
                x = self.mergings[number](x)
            found.append(x)
        found[-1] = self.norm(x)
        return [each.reshape(each.shape[0], math.prod(each.shape[1:3]), -1) for each in found]

    def __call__(
        self, views: jax.Array, longer: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """The vectors (N, width) of clips, float32; the arguments are those of `states`."""
        return self.states(views, longer, mask, key)[-1].astype(jnp.float32).mean(axis=1)
