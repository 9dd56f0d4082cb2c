"""A model's answers on a whole split, and what they are worth."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from atbert_jax.training import sharding
from atbert_jax.training.learner import Learner
from atbert_jax.training.step import mean, total_loss


def answers(
    step: Callable, params: dict, statistics: dict, batches: Iterable[Mapping], mesh: Mesh
) -> tuple[dict, dict[str, dict[str, np.ndarray]]]:
    """Runs a model over batches.

    Args:
        step: From `make_evaluation_step`.
        params: Of the model.
        statistics: Of the model.
        batches: Of a split, once.
        mesh: Devices.

    Returns:
        (sum, weight) of losses and metrics; and for each objective its outputs (N, ...) with
        `record`, `labels` and `label_mask`, for the N valid rows.
    """
    sums = None
    collected: dict[str, list[dict]] = {}
    for batch in batches:
        found = step(params, statistics, sharding.put(batch, mesh))
        new, outputs, kept = jax.device_get(found)
        sums = new if sums is None else jax.tree.map(np.add, sums, new)
        valid = kept.pop("valid") > 0
        kept = {name: values[valid] for name, values in kept.items()}
        for name, values in outputs.items():
            rows = {key: value[valid] for key, value in values.items()}
            collected.setdefault(name, []).append(kept | rows)
    merged = {
        name: {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for name, parts in collected.items()
    }
    return sums, merged


def measure(
    learner: Learner,
    weights: Mapping[str, float],
    sums: tuple[dict, dict],
    outputs: Mapping[str, Mapping[str, np.ndarray]],
    aggregate: str,
) -> dict[str, Any]:
    """`loss` and, by objective, its loss and everything that its `summarize` says."""
    losses, _ = sums
    metrics: dict[str, Any] = {"loss": float(total_loss(losses, dict(weights)))}
    own = mean(losses)
    for name, objective in learner.objectives.items():
        summary = objective.summarize(outputs[name], aggregate)
        metrics[name] = {"loss": float(own[name])} | summary
    return metrics


def scalars(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float | None]:
    """The numbers in nested metrics as `objective/view/name`; tables of classes are left out."""
    flat: dict[str, float | None] = {}
    for name, value in metrics.items():
        if name in ("per_class", "per_target", "undefined_classes"):
            continue
        if isinstance(value, Mapping):
            flat |= scalars(value, f"{prefix}{name}/")
        elif value is None or isinstance(value, int | float):
            flat[prefix + name] = value
    return flat
