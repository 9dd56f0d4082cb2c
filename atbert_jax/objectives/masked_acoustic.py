"""Masked acoustic modelling (Liu et al. 2020, Greer et al. 2023): what was under the mask?

Cells of the features are masked: frames in runs, columns in runs, or patches. The budget is of
distinct cells, so what is masked twice counts once; it holds for clips of any length, and padding
is never masked.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import fold
from atbert_jax.models.transformer import ACTIVATIONS, LayerNorm
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.objective import Batch, Mean, Objective
from atbert_jax.reporting.report import Figure
from atbert_jax.reporting.tables import Table

# Of the sequences: their masked cells become 0, become those of other frames; the others stay.
ZEROED, REPLACED = 0.8, 0.1
# Runs of frames are that long, however they are drawn.
SHORTEST, LONGEST = 2, 7
# Runs of columns are masked in these blocks, which follow one another.
CHANNEL_BLOCKS = ("log_mel", "cqt_chroma")
KINDS = ("frames_channels", "frames", "patches")
SPANS = ("geometric", "constant")
# So many times the patches that it would take if they fell into random places.
SPARE = 1.5
DEFAULTS = {
    "mask": "frames_channels",  # runs of frames and of columns; or 'frames', 'patches'
    "rate": 0.15,  # of the frames, or of the cells under patches
    "span": "geometric",  # length of a run of frames, from 2 to 7; or 'constant'
    "consecutive": 7,  # mean or constant length of a run; side of a patch
}


def until(order: jax.Array, real: jax.Array, count: int, budget: jax.Array) -> jax.Array:
    """The cells of the first areas that have a budget of distinct cells together.

    Args:
        order: (...), the first of the areas 0 .. `count` - 1 that covers each cell; `count` = none.
        real: (...), which cells there are.
        count: Number of areas.
        budget: Scalar; the area that reaches it is masked whole.

    Returns:
        (...), bool.
    """
    sizes = jnp.zeros(count + 1).at[order].add(real)
    before = jnp.cumsum(sizes) - sizes
    return (before[order] < budget) & (order < count) & (real > 0)


def frame_spans(
    real: jax.Array, key: jax.Array, rate: float, span: str, consecutive: int
) -> jax.Array:
    """Runs of neighbouring frames, of `rate` of the real ones.

    They begin at frames in random order, none twice, so that each adds at least one.

    Args:
        real: (T,), 1 = real.
        key: Of the draws.
        rate: Share.
        span: 'geometric' with mean `consecutive`, at least 2 and at most 7; or 'constant'.
        consecutive: Length of a run.

    Returns:
        (T,), bool.
    """
    length = len(real)
    count = min(length, math.ceil(rate * length) + 1)
    draws = jax.random.uniform(fold(key, 0), (length,))
    starts = jnp.argsort(jnp.where(real > 0, draws, 2.0))[:count]
    lengths = jnp.full(count, consecutive)
    longest = consecutive
    if span == "geometric":
        lengths = jax.random.geometric(fold(key, 1), 1 / consecutive, (count,))
        lengths, longest = jnp.clip(lengths, SHORTEST, LONGEST), LONGEST
    order = jnp.full(length, count)
    for offset in range(longest):
        place = jnp.where(offset < lengths, starts + offset, length)  # beyond the end: nowhere
        order = order.at[place].min(jnp.arange(count), mode="drop")
    return until(order, real, count, rate * real.sum())


def patches(real: jax.Array, columns: int, key: jax.Array, rate: float, side: int) -> jax.Array:
    """Squares of cells in random places, of `rate` of the real ones.

    Args:
        real: (T,), 1 = real.
        columns: F.
        key: Of the draws.
        rate: Share.
        side: Of a square, in frames and in columns.

    Returns:
        (T, F), bool.
    """
    length, side = len(real), min(side, columns)
    count = math.ceil(-math.log1p(-rate) * SPARE * length * columns / side**2) + 1
    room = jnp.array([jnp.maximum(real.sum() - side, 0), columns - side])
    corners = jax.random.uniform(key, (count, 2)) * (room + 1)
    time, column = jnp.minimum(corners.astype(jnp.int32), room.astype(jnp.int32)).T
    first = jnp.full((length, columns), count).at[time, column].min(jnp.arange(count))
    # A cell is covered by what begins up to a side before it.
    order = jax.lax.reduce_window(
        first, jnp.int32(count), jax.lax.min, (side, side), (1, 1), [(side - 1, 0), (side - 1, 0)]
    )
    cells = jnp.broadcast_to(real[:, None], order.shape)
    return until(order, cells, count, rate * cells.sum())


def channel_span(first: int, columns: int, key: jax.Array) -> jax.Array:
    """A run of columns from a random one of `first` .. F - 1 on, of any length, perhaps none.

    Returns:
        (F,), bool.
    """
    begin, share = jax.random.uniform(key, (2,))
    begin = first + jnp.floor(begin * (columns - first))
    width = jnp.floor(share * (columns - begin))
    index = jnp.arange(columns)
    return (index >= begin) & (index < begin + width)


class MaskedAcoustic(Objective):
    """Huber loss between masked cells and their predictions; others do not count.

    `config.masked_acoustic.mask` is 'frames_channels' (runs of frames, and a run of columns of mel
    and constant-Q), 'frames' or 'patches'. One die is cast for each sequence: for 80 % of them the
    masked frames or patches become 0, for 10 % those of random frames of the same sequence, and for
    10 % they stay; columns become 0 always. The head is Linear D -> D, GELU, norm, Linear D -> F R,
    for R stacked frames: 841 284 parameters with D = 768, F = 324.

    The original's budget counts overlaps twice and breaks in long clips; with R > 1 it masks but
    the first of stacked frames. Here masks are drawn before frames are stacked.

    Args:
        config: `config.masked_acoustic`, see `defaults`.
        contract: Gives the features.
        trunk: Reads frames; gives the width D and `downsample` R.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown, or the batches do not carry frames.
    """

    needs_text = False
    draws = True
    defaults = DEFAULTS

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        contract: Contract,
        trunk: Trunk,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        where = "config.masked_acoustic"
        choices.require(f"{where}.mask", config.mask, KINDS)
        choices.require(f"{where}.span", config.span, SPANS)
        if not 0 < config.rate < 1 or config.consecutive < 1:
            raise ValueError(
                f"{where}.rate={config.rate} must be between 0 and 1, and"
                f" consecutive={config.consecutive} at least 1"
            )
        if contract.features is None:
            raise ValueError(
                "config.objectives.masked_acoustic masks frames of features; use it with"
                " --config.data.input=frames and a model that reads them"
            )
        self.mask, self.rate = config.mask, config.rate
        self.span, self.consecutive = config.span, config.consecutive
        self.columns = contract.features.size
        self.first_channel = min(contract.features.columns[name].start for name in CHANNEL_BLOCKS)
        self.dense = nnx.Linear(trunk.hidden, trunk.hidden, rngs=rngs)
        self.norm = LayerNorm(trunk.hidden, rngs=rngs)
        self.output = nnx.Linear(trunk.hidden, self.columns * trunk.downsample, rngs=rngs)

    def _masked(
        self, frames: jax.Array, real: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Frames (T, F) as the model sees them, and the cells (T, F) that it has to predict."""
        length, columns = frames.shape
        if self.mask == "patches":
            cells = patches(real, columns, fold(key, 0), self.rate, self.consecutive)
        else:
            rows = frame_spans(real, fold(key, 0), self.rate, self.span, self.consecutive)
            cells = jnp.broadcast_to(rows[:, None], frames.shape)
        others = jnp.floor(jax.random.uniform(fold(key, 1), (length,)) * real.sum())
        die = jax.random.uniform(fold(key, 2))
        kept = jnp.where(die < ZEROED + REPLACED, frames[others.astype(jnp.int32)], frames)
        seen = jnp.where(cells, jnp.where(die < ZEROED, 0, kept), frames)
        if self.mask == "frames_channels":
            channels = channel_span(self.first_channel, columns, fold(key, 3))
            channels = channels & (real[:, None] > 0)
            seen, cells = jnp.where(channels, 0, seen), cells | channels
        return seen, cells

    def corrupt(self, batch: Batch, key: jax.Array) -> Batch:
        """Adds `masked_frames` (B, T, F) and `masked_cells` (B, T, F), 1 where to predict.

        The draws follow the record, so in evaluation, where the key is fixed, they are fixed too.
        """
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["record"])
        real = batch["frame_mask"] * (batch["valid"] * batch["segment_mask"][:, 0])[:, None]
        seen, cells = jax.vmap(self._masked)(batch["frames"], real, keys)
        return batch | {"masked_frames": seen, "masked_cells": cells.astype(jnp.float32)}

    def _predicted(self, model: Trunk, batch: Batch, key: jax.Array | None) -> jax.Array:
        """The prediction of every cell (B, T, F), float32."""
        seen = batch | {"frames": batch["masked_frames"]}
        audio = model.encode_audio(seen, fold(key, 0))
        states = model.fuse(audio, None, fold(key, 1)).hidden[:, 1:]
        states = ACTIVATIONS["gelu"](self.dense(states.astype(jnp.float32)))
        predicted = self.output(self.norm(states))
        return predicted.reshape(len(predicted), -1, self.columns)[:, : seen["frames"].shape[1]]

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """Huber loss (delta 1) of the masked cells.

        Returns:
            (sum, weight) over the cells, and the metric `masked`, their share of all real ones.
        """
        cells = batch["masked_cells"]
        losses = optax.huber_loss(self._predicted(model, batch, key), batch["frames"])
        real = (batch["frame_mask"] * batch["valid"][:, None]).sum() * self.columns
        return ((losses * cells).sum(), cells.sum()), {"masked": (cells.sum(), real)}

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """`huber`, `mean_huber` (B,): the losses' sums, also of the mean; and `cells`."""
        cells, axes = batch["masked_cells"], (1, 2)
        losses = optax.huber_loss(self._predicted(model, batch, None), batch["frames"])
        return {
            "huber": (losses * cells).sum(axes),
            # Columns have mean 0 over their clip.
            "mean_huber": (optax.huber_loss(batch["frames"]) * cells).sum(axes),
            "cells": cells.sum(axes),
        }

    def summarize(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """`huber`, the loss of a masked cell, and `mean_huber`, that of predicting the mean."""
        del aggregate
        cells = max(outputs["cells"].sum(dtype=np.float64), 1)
        return {
            name: float(outputs[name].sum(dtype=np.float64) / cells)
            for name in ("huber", "mean_huber")
        }

    def report(
        self, outputs: Mapping[str, np.ndarray], summary: Mapping, aggregate: str
    ) -> tuple[list[Table], list[Figure]]:
        """The losses."""
        del aggregate
        rows = [[int(outputs["cells"].sum()), summary["huber"], summary["mean_huber"]]]
        columns = ("masked cells", "Huber loss", "of predicting each column's mean")
        note = "Features have mean 0 and deviation 1 in each clip."
        return [Table("Masked acoustic modelling", columns, rows, note)], []

    def pictures(self, model: Trunk, batch: Batch) -> dict[str, jax.Array]:
        """`original`, `masked` and `reconstructed` features (B, F, T)."""
        predicted = self._predicted(model, batch, None) * batch["frame_mask"][..., None]
        shown = {
            "original": batch["frames"],
            "masked": batch["masked_frames"],
            "reconstructed": predicted,
        }
        return {name: jnp.swapaxes(values, 1, 2) for name, values in shown.items()}
