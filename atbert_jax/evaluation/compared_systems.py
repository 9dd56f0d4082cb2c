"""A model of labels beside its twin from scratch and the MFCC baseline, on the same records."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from atbert_jax.evaluation import baseline
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.reporting.tables import Table
from atbert_jax.training import validation
from atbert_jax.training.trained import Trained

BASELINE = "MFCC statistics + linear model"


def compare(
    model: Trained,
    measured: Sequence[dict[str, Any]],
    dataset: Dataset,
    split: str,
    chosen: dict[str, dict],
    console: Console,
    *,
    with_baseline: bool,
) -> tuple[dict[Labels, dict[str, dict]], list[str]]:
    """What the model, its twin from scratch and the baseline have measured on each task's labels.

    Returns:
        By the labels, metrics by system, the model's first view first; and warnings.
    """
    compared, warnings = {}, []
    can_be_heard = with_baseline and baseline.is_possible(dataset, split)
    for name, labels in model.contract.by_objective.items():
        systems = _systems(model, [values.get(name, {}) for values in measured], labels)
        if systems and can_be_heard:
            systems[BASELINE] = baseline.measure(
                dataset, labels, split, console, tuned=name in chosen
            )
        if systems:
            compared[labels] = systems
    if compared and not with_baseline:
        warnings.append("The MFCC baseline was not measured, as asked for.")
    elif compared and not can_be_heard:
        warnings.append("The MFCC baseline was not measured: the manifest names features alone.")
    if compared and model.config.init_from and len(measured) == 1:
        warnings.append(
            "The same network from scratch was not measured; train with"
            " --config.scratch_twin=true to see what pre-training is worth."
        )
    return compared, warnings


def _systems(model: Trained, measured: Sequence[dict[str, Any]], labels: Labels) -> dict[str, dict]:
    """What the model and its twin have measured on some labels, by system and view."""
    config = model.config
    starts = [start for start in (config.init_from, config.init.text, config.init.audio) if start]
    origins = [f"from {' and '.join(starts) or 'scratch'}", "from scratch"]
    return {
        f"{config.model.name} {origin}: {view}": entry
        for origin, values in zip(origins, measured, strict=False)
        for view, entry in validation.views(values, labels.task)
    }


def comparison(systems: dict[str, dict], labels: Labels) -> Table:
    """The table of what all systems have measured on a task's labels."""
    names = validation.SHOWN[labels.task]
    rows = [[system, *(entry.get(name) for name in names)] for system, entry in systems.items()]
    title = f"Comparison: {labels.name}" if labels.name else "Comparison"
    return Table(title, ["system", *names], rows, "All on the same records of this split.")


def headline(compared: dict[Labels, dict[str, dict]]) -> dict[str, Any]:
    """Each task's first metric of the model's first view, its twin's and the baseline's."""
    first = {}
    for labels, systems in compared.items():
        metric = validation.SHOWN[labels.task][0]
        what = f"{labels.name} {metric}" if labels.name else metric
        for system, entry in systems.items():
            first.setdefault(f"{what} {system.split(':')[0]}", entry[metric])
    return first
