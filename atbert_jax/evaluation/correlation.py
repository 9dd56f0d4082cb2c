"""How the hidden units of each layer go along with the features that the model hears.

The analysis of M3BERT (Greer et al. 2023): which unit follows which feature? Here it is over all
frames of a split at once, in both directions, and r and p are what they are called. Neighbouring
frames are much alike, so p, which takes frames for independent, says less than it seems to.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import stats

from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.parallel import sharding
from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering
from atbert_jax.reporting.report import Figure, Section
from atbert_jax.reporting.tables import Table
from atbert_jax.training.learner import Batch
from atbert_jax.training.trained import Trained

# Pairs in the table, half of them positive where there are so many.
SHOWN = 20


class Pearson:
    """Correlations of U units and F features over many rows, which come in parts.

    Sums are in float64, of values that are near 0 and of deviation about 1.
    """

    def __init__(self, units: int, features: int) -> None:
        self.count = 0.0
        self._sums = np.zeros(units), np.zeros(features)
        self._squares = np.zeros(units), np.zeros(features)
        self._products = np.zeros((units, features))

    def add(self, units: np.ndarray, features: np.ndarray) -> None:
        """Takes N rows (N, U) and (N, F)."""
        units, features = units.astype(np.float64), features.astype(np.float64)
        self.count += len(units)
        for total, squares, values in zip(
            self._sums, self._squares, (units, features), strict=True
        ):
            total += values.sum(axis=0)
            squares += (values**2).sum(axis=0)
        self._products += units.T @ features

    def correlations(self) -> np.ndarray:
        """R (U, F), 0 where a unit or a feature never varies."""
        count = max(self.count, 1)
        means = [total / count for total in self._sums]
        # What rounding leaves of a constant is no deviation.
        deviations = [
            np.sqrt(np.where(square / count - mean**2 > 1e-10, square / count - mean**2, np.inf))
            for square, mean in zip(self._squares, means, strict=True)
        ]
        covariance = self._products / count - np.outer(*means)
        return np.clip(covariance / np.outer(*deviations), -1, 1)


def p_values(r: np.ndarray, count: float) -> np.ndarray:
    """Two-sided p of correlations r over `count` independent rows, if there were none."""
    freedom = max(count - 2, 1)
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(freedom / (1 - r**2))
    return 2 * stats.t.sf(t, freedom)


def measure(model: Trained, dataset: Dataset, split: str) -> Section:
    """Correlates every unit of every layer with every feature, over the frames of a split.

    Where the model stacks frames, features are those frames' means.

    Args:
        model: From `trained.load`.
        dataset: With the split.
        split: 'train', 'val' or 'test'.

    Returns:
        `frames`, how many there were, and `pairs`, the strongest ones; a table and a figure.

    Raises:
        ValueError: if the model hears no frames.
    """
    if not dataset.contract.features:
        raise ValueError(
            f"{model.workdir} hears no frames of features, with which its units could correlate;"
            " give the checkpoint of an M3BERT"
        )
    names, pearson, layers = dataset.contract.features.names, None, 0
    for states, features in _frames(model, dataset, split):
        layers, _, width = states.shape
        pearson = pearson or Pearson(layers * width, len(names))
        pearson.add(np.moveaxis(states, 0, 1).reshape(-1, layers * width), features)
    r = pearson.correlations().reshape(layers, -1, len(names))
    pairs = _strongest(r, pearson.count, names)
    values = {"frames": int(pearson.count), "pairs": pairs}
    note = (
        f"Pearson's r over {int(pearson.count):,} frames of {split}, the strongest of either sign."
        " p takes frames for independent, which neighbours are not."
    )
    columns = ("layer", "unit", "feature", "r", "p")
    table = Table(
        "Hidden units and features",
        columns,
        [[pair[name] for name in columns] for pair in pairs],
        note,
    )
    note = "For each layer and feature the r of the unit with the largest |r|."
    figure = Figure("Hidden units and features", draw(r, dataset), note)
    return Section(values, [table], [figure])


def _frames(
    model: Trained, dataset: Dataset, split: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The real frames of each batch: states (L, N, D) and features (N, F)."""
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    @jax.jit
    def step(params: dict, statistics: dict, batch: Batch) -> tuple:
        trunk = nnx.merge(model.definition, params, statistics).model
        hidden, mask = trunk.layers(batch)
        stacked = trunk.stack(batch["frames"], batch["frame_mask"]).hidden
        parts = stacked.reshape(*mask.shape, trunk.downsample, -1)
        real = trunk.stack(batch["frame_mask"][..., None], batch["frame_mask"]).hidden.sum(-1)
        means = parts.sum(axis=2) / jnp.maximum(real, 1)[..., None]
        return hidden.astype(jnp.float32), means, mask * batch["valid"][:, None]

    batches = Batches(model.config, dataset, BadRecords(None))
    for batch in batches.evaluation(split, model.config.evaluation.batch_size):
        placed = sharding.put(batch, model.mesh)
        hidden, features, mask = jax.device_get(step(model.params, model.statistics, placed))
        real = mask > 0
        yield hidden[:, real], features[real]


def _strongest(r: np.ndarray, count: float, names: list[str]) -> list[dict[str, Any]]:
    """The strongest pairs of r (L, D, F), of either sign, the strongest first."""
    flat = r.reshape(-1)
    order = np.argsort(flat, kind="stable")
    ends = np.concatenate([order[: SHOWN // 2], order[::-1][: SHOWN // 2]])
    chosen = sorted(dict.fromkeys(ends.tolist()), key=lambda place: -abs(flat[place]))
    found = []
    for place in chosen:
        layer, unit, feature = np.unravel_index(place, r.shape)
        pair = {"layer": int(layer) + 1, "unit": int(unit), "feature": names[feature]}
        found.append(pair | {"r": float(flat[place]), "p": float(p_values(flat[place], count))})
    return found


def draw(r: np.ndarray, dataset: Dataset) -> bytes:
    """Draws the strongest r of each layer and feature, of r (L, D, F).

    Returns:
        A PNG.
    """
    best = np.abs(r).argmax(axis=1)[:, None]
    strongest = np.take_along_axis(r, best, axis=1)[:, 0]
    blocks = dataset.contract.features.columns
    with lettering([]):
        figure = canvas(8.2, 1.2 + 0.25 * len(strongest))
        axes = figure.subplots()
        image = axes.imshow(
            strongest, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1
        )
        axes.set_yticks(range(len(strongest)), [f"layer {n + 1}" for n in range(len(strongest))])
        starts = [where.start - 0.5 for where in blocks.values()]
        names = [name.replace("_", " ") for name in blocks]
        axes.set_xticks(starts, names, fontsize=8, rotation=40, ha="right")
        figure.colorbar(image, ax=axes, label="r", pad=0.01)
        return encode(figure)
