"""Pictures of what the objectives do to the first clips of a split."""

from collections.abc import Mapping

import jax
import numpy as np

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.parallel import sharding
from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering
from atbert_jax.reporting.report import Figure
from atbert_jax.training.pictures import make_picture_step
from atbert_jax.training.trained import Trained

LONGEST_TITLE = 80
# Colours cover that share of the first picture's values; a few extremes would take them all.
SHARE = 98


def figures(model: Trained, dataset: Dataset, split: str) -> list[Figure]:
    """The pictures of a model's objectives, a figure for each clip; nothing where none draws.

    Args:
        model: From `trained.load`.
        dataset: With the split.
        split: 'train', 'val' or 'test'.
    """
    if not any(objective.draws for objective in model.learner.objectives.values()):
        return []
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    batches = Batches(model.config, dataset, BadRecords(None))
    batch = next(batches.evaluation(split, model.config.evaluation.batch_size))
    where = jax.tree.map(lambda x: x.sharding, model.params)
    step = make_picture_step(model.definition, model.mesh, where)
    placed = sharding.put(batch, model.mesh)
    drawn = jax.device_get(step(model.params, model.statistics, placed))
    found = []
    for row in range(len(next(iter(drawn.values())))):
        if not batch["valid"][row]:
            continue
        name = dataset.split(split).records[batch["record"][row]].id
        panels = {title.partition("/")[2]: values[row] for title, values in drawn.items()}
        picture = draw(panels, name, dataset.contract)
        found.append(Figure(f"What is masked, and what the model tells: {name}", picture))
    return found


def draw(panels: Mapping[str, np.ndarray], title: str, contract: Contract) -> bytes:
    """Draws pictures (H, W) one below the other, in the colours of the first.

    Args:
        panels: By name; the first row of each is the lowest.
        title: Of the clip.
        contract: Whose features the rows are, if there are as many.

    Returns:
        A PNG.
    """
    first = next(iter(panels.values()))
    limit = max(float(np.percentile(np.abs(first), SHARE)), 1e-6)
    features, blocks = contract.features, {}
    if features and features.size == len(first):
        blocks = {name.replace("_", " "): where.start for name, where in features.columns.items()}
    with lettering([title], LONGEST_TITLE) as (label,):
        figure = canvas(8.2, 0.4 + 2.4 * len(panels))
        grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (name, values) in zip(grid, panels.items(), strict=True):
            image = axes.imshow(
                values, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit
            )
            axes.set_title(name, fontsize=9, loc="left")
            if blocks:
                axes.set_yticks(list(blocks.values()), list(blocks), fontsize=7)
        grid[-1].set_xlabel("frame")
        figure.suptitle(label, fontsize=10)
        figure.colorbar(image, ax=list(grid), pad=0.01, aspect=40)
        return encode(figure)
