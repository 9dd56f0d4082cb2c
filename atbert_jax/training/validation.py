"""A model's answers on a whole split, and what they are worth."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.progress import track
from atbert_jax.parallel import sharding
from atbert_jax.training.learner import Batch, Learner
from atbert_jax.training.step import mean, total_loss
from atbert_jax.training.trained import Trained

# What is shown of each task, the headline first.
SHOWN = {
    "single_label": ("accuracy", "macro_f1", "roc_auc_macro", "pr_auc_macro"),
    "multi_label": (
        "roc_auc_macro",
        "pr_auc_macro",
        "roc_auc_micro",
        "f1_macro",
        "f1_micro",
        "f1_macro_tuned",
        "f1_micro_tuned",
    ),
    "regression": ("r2", "rmse", "mae"),
}

# Outputs (N, ...) of one objective.
Outputs = Mapping[str, np.ndarray]


# The defaults of `config.evaluation`.
DEFAULTS = {
    "batch_size": 64,  # of validation and evaluation, global
    "aggregate": "mean",  # chunks into tracks; or 'max', 'vote'
    "rerank": 32,  # candidates of a search that the pair head puts in order; 0: none
    "best_metric": "loss",  # a validation metric's name; the lowest loss, else the highest
}


def ask(
    models: Sequence[Trained], dataset: Dataset, split: str, console: Console, note: str = ""
) -> tuple[list[tuple[tuple, dict]], int]:
    """Runs trained models on a split, in batches of the first one's `config.evaluation`.

    Args:
        models: From `trained.load`.
        dataset: With the split.
        split: 'train', 'val' or 'test'.
        console: Where to talk.
        note: Said with the progress.

    Returns:
        For each model what `answers` gives; and how many records were not readable.

    Raises:
        sources.ManifestError: if the split is empty.
    """
    # TensorFlow is needed here, where a split is read, and not in `predict`.
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    model = models[0]
    size = model.config.evaluation.batch_size
    bad = BadRecords(None)
    batches = Batches(model.config, dataset, bad)
    stream = track(
        batches.evaluation(split, size),
        f"{model.workdir} on {split}{note}",
        batches.steps(split, size),
        "batches",
        console=console,
    )
    return answers([model.evaluate for model in models], stream, model.mesh), len(bad)


def answers(
    models: Sequence[Callable[[Batch], tuple]], batches: Iterable[Mapping], mesh: Mesh
) -> list[tuple[tuple, dict[str, Outputs]]]:
    """Runs models over the same batches, which are read once.

    Args:
        models: Steps of `make_evaluation_step` that wait for a batch alone.
        batches: Of a split, once.
        mesh: Devices.

    Returns:
        For each model (sum, weight) of losses and metrics; and for each objective its outputs
        (N, ...) with `record`, `labels` and `label_mask`, for the N valid rows.
    """

    def asked() -> Iterator[list[tuple]]:
        for batch in batches:
            placed = sharding.put(batch, mesh)
            yield [model(placed) for model in models]

    parts: list[list[tuple]] = [[] for _ in models]
    for answered in one_behind(asked()):
        for found, answer in zip(parts, answered, strict=True):
            sums, outputs, kept = jax.device_get(answer)
            valid = kept.pop("valid") > 0
            rows = {name: kept | values for name, values in outputs.items()}
            found.append((sums, jax.tree.map(lambda x, valid=valid: x[valid], rows)))
    return [_merged(found) for found in parts]


def one_behind(stream: Iterable[Any]) -> Iterator[Any]:
    """A stream, of which each is only given when the next is there.

    So a device computes the next batch while the answers about this one are fetched from it.
    """
    waiting = []
    for each in stream:
        yield from waiting
        waiting = [each]
    yield from waiting


def _merged(parts: Sequence[tuple]) -> tuple[tuple, dict[str, Outputs]]:
    sums, rows = zip(*parts, strict=True)
    return (
        jax.tree.map(lambda *each: np.sum(each, axis=0), *sums),
        jax.tree.map(lambda *each: np.concatenate(each), *rows),
    )


def choosing(learner: Learner) -> dict[str, Any]:
    """The objectives that choose something on validation data, by name."""
    objectives = learner.objectives.items()
    return {name: entry for name, entry in objectives if entry.chooses}


def choose(
    learner: Learner, outputs: Mapping[str, Outputs], aggregate: str, without: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """What the objectives choose on validation data, as keyword arguments of theirs.

    Args:
        learner: The model.
        outputs: On the validation split, of each objective.
        aggregate: How chunks become tracks.
        without: Objectives that have nothing there to choose by.
    """
    return {
        name: objective.choose(outputs[name], aggregate)
        for name, objective in choosing(learner).items()
        if name not in without
    }


def measure_answers(
    model: Trained, answers: tuple[tuple, dict], chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What `measure` says of a trained model's `answers`, in the way of its config."""
    how = model.config.evaluation.aggregate
    return measure(model.learner, model.config.objectives, *answers, how, chosen)


def measure(
    learner: Learner,
    weights: Mapping[str, float],
    sums: tuple[dict, dict],
    outputs: Mapping[str, Outputs],
    aggregate: str,
    chosen: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """`loss` and, by objective, its loss and everything that its `summarize` says.

    Args:
        learner: The model.
        weights: Of the objectives.
        sums: Of `answers`.
        outputs: Of `answers`.
        aggregate: How chunks become tracks.
        chosen: Of `choose`, on validation data.
    """
    losses, _ = sums
    metrics: dict[str, Any] = {"loss": float(total_loss(losses, dict(weights)))}
    own = mean(losses)
    for name, objective in learner.objectives.items():
        summary = objective.summarize(outputs[name], aggregate, **chosen.get(name, {}))
        metrics[name] = {"loss": float(own[name])} | summary
    return metrics


def views(values: Mapping[str, Any], task: str) -> Iterator[tuple[str, dict]]:
    """The views (as `audio_text`) that an objective has measured on its labels."""
    for view, entry in values.items():
        if isinstance(entry, dict) and SHOWN[task][0] in entry:
            yield view, entry


def scalars(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float | None]:
    """The numbers in nested metrics as `objective/view/name`; tables are left out."""
    flat: dict[str, float | None] = {}
    for name, value in metrics.items():
        if name in ("per_class", "per_target", "undefined_classes", "calibration"):
            continue
        if isinstance(value, Mapping):
            flat |= scalars(value, f"{prefix}{name}/")
        elif value is None or isinstance(value, int | float):
            flat[prefix + name] = value
    return flat
