"""How much of a model's success is left on perturbed clips (Won et al. 2020, section 4.3)."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.manifest.perturbation import ROBUSTNESS
from atbert_jax.reporting import plots
from atbert_jax.reporting.report import Figure, Section
from atbert_jax.reporting.tables import Table
from atbert_jax.training import validation
from atbert_jax.training.trained import Trained

CLEAN = "clean"
# Metrics in the table and in the picture.
COLUMNS, DRAWN = 4, 2


def measure(
    model: Trained,
    dataset: Dataset,
    split: str,
    clean: Mapping[str, Any],
    chosen: Mapping[str, Mapping[str, Any]],
    console: Console,
) -> Section:
    """Measures the model's first view on every perturbation of the robustness set.

    Args:
        model: From `trained.load`.
        dataset: With labels.
        split: 'train', 'val' or 'test'.
        clean: What `split.measure_answers` gave without perturbation.
        chosen: On validation data without perturbation.
        console: Where to talk.

    Returns:
        By perturbation, `clean` first, the metrics of the task; a table and a figure.

    Raises:
        ValueError: if the model predicts no labels.
    """
    task = model.contract.labels.task
    if not task:
        raise ValueError(
            f"{model.workdir} predicts no labels of one task, and robustness is measured on them;"
            " give the checkpoint of a classification"
        )
    shown = validation.SHOWN[task][:COLUMNS]
    found = {CLEAN: clean}
    for perturbation in ROBUSTNESS:
        perturbed = dataset.perturbed(split, perturbation)
        (answers,), _ = validation.ask([model], perturbed, split, console, f", {perturbation}")
        found[str(perturbation)] = validation.measure_answers(model, answers, chosen)
    values = {}
    for name, metrics in found.items():
        view, entry = next(validation.views(metrics["classification"], task))
        view = view.replace("_", " + ")
        values[name] = {metric: entry[metric] for metric in shown}
    rows = [[name, *entry.values()] for name, entry in values.items()]
    note = f"Each clip is perturbed as a whole before it is cut into chunks; {view}."
    table = Table("Robustness", ["perturbation", *shown], rows, note)
    # A macro average is undefined where a single label is.
    drawn = [m for m in shown if any(entry[m] is not None for entry in values.values())][:DRAWN]
    panels = {
        metric: [[entry[metric]] if entry[metric] is not None else [] for entry in values.values()]
        for metric in drawn
    }
    figures = [Figure("Robustness", plots.dots(list(values), panels), note)] if panels else []
    return Section(values, [table], figures)
