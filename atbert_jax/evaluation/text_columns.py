"""What is left of a model's success on other texts of the same records, as recognised speech."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.objectives.views import TEXT
from atbert_jax.reporting.report import Section
from atbert_jax.reporting.tables import Table
from atbert_jax.training import validation
from atbert_jax.training.trained import Trained


def require(model: Trained) -> None:
    """Checks that there is something to compare.

    Raises:
        ValueError: if the model predicts no labels, or reads no text.
    """
    if not model.contract.labels.task or TEXT not in model.learner.model.modalities:
        raise ValueError(
            f"{model.workdir} predicts no labels or reads no text, so another text column tells"
            " nothing; leave --also_text_column out"
        )


def measure(
    model: Trained,
    datasets: Mapping[str, Dataset],
    split: str,
    given: Mapping[str, Any],
    chosen: Mapping[str, Mapping[str, Any]],
    console: Console,
) -> Section:
    """Measures a model on each text column of the same records.

    Args:
        model: From `trained.load`.
        datasets: By text column; the first one has been measured.
        split: 'train', 'val' or 'test'.
        given: What `split.measure_answers` gave for the first.
        chosen: On validation data, with the first one's texts.
        console: Where to talk.

    Returns:
        By text column and view the metrics of the task, and a table of them.
    """
    task = model.contract.labels.task
    first, *others = datasets
    found = {first: given}
    for column in others:
        note = f", text column {column}"
        (answers,), _ = validation.ask([model], datasets[column], split, console, note)
        found[column] = validation.measure_answers(model, answers, chosen)
    shown = validation.SHOWN[task]
    values = {
        column: {
            view.replace("_", " + "): {metric: entry.get(metric) for metric in shown}
            for view, entry in validation.views(metrics["classification"], task)
        }
        for column, metrics in found.items()
    }
    rows = [
        [view, column, *entries[view].values()]
        for view in values[first]
        for column, entries in values.items()
    ]
    note = "The same records, model and settings; where the view has no text, nothing can change."
    table = Table("Text columns", ["view", "text column", *shown], rows, note)
    return Section(values, [table])
