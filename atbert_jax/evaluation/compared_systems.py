"""A model of labels beside its twin from scratch and the MFCC baseline, on the same records."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console

from atbert_jax.evaluation import baseline, significance
from atbert_jax.evaluation.significance import Hits
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.reporting.tables import Table, format_range
from atbert_jax.training import validation
from atbert_jax.training.trained import Trained

BASELINE = "MFCC statistics + linear model"
INTERVAL = "accuracy_interval"


class System(NamedTuple):
    """What one system has measured on a task's labels.

    Attributes:
        metrics: Of `metrics.scores`.
        hits: Where each record has one label.
        is_baseline: The model is to beat it.
    """

    metrics: Mapping[str, Any]
    hits: Hits | None = None
    is_baseline: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """The metrics, with the interval of the accuracy."""
        return dict(self.metrics) | ({INTERVAL: self.hits.interval} if self.hits else {})


@dataclasses.dataclass(frozen=True)
class Compared:
    """All systems of a task, the model's first view first.

    Attributes:
        labels: Of the task.
        systems: By name.
    """

    labels: Labels
    systems: Mapping[str, System]

    @functools.cached_property
    def verdict(self) -> dict[str, Any]:
        """The model's first view against the best baseline: of `significance.compare`, both names.

        Empty where there is no baseline, no single label, or no record that both have answered.
        """
        known = [name for name, each in self.systems.items() if each.is_baseline and each.hits]
        first = next(iter(self.systems))
        if not known or self.systems[first].hits is None:
            return {}
        best = max(known, key=lambda name: self.systems[name].hits.accuracy)
        if not set(self.systems[first].hits.records) & set(self.systems[best].hits.records):
            return {}
        found = significance.compare(self.systems[first].hits, self.systems[best].hits)
        named = f"{self.labels.name}, {first}" if self.labels.name else first
        said = significance.sentence(named, best, found)
        return {"system": first, "baseline": best, **found, "sentence": said}

    @property
    def table(self) -> Table:
        """What all systems have measured."""
        names = list(validation.SHOWN[self.labels.task])
        is_single = self.labels.task == "single_label"
        rows = []
        for system, found in self.systems.items():
            cells = [found.metrics.get(name) for name in names]
            if is_single:
                cells.insert(1, format_range(*found.hits.interval))
            rows.append([system, *cells])
        if is_single:
            names.insert(1, "95 % interval")
        title = f"Comparison: {self.labels.name}" if self.labels.name else "Comparison"
        note = "Each on the records of this split that it could answer."
        return Table(title, ["system", *names], rows, note)

    @property
    def headline(self) -> dict[str, Any]:
        """The first metric of the first view of each system."""
        metric, first = validation.SHOWN[self.labels.task][0], {}
        what = f"{self.labels.name} {metric}" if self.labels.name else metric
        for system, found in self.systems.items():
            first.setdefault(f"{what} {system.split(':')[0]}", found.metrics[metric])
        return first


def numbers(compared: Sequence[Compared]) -> dict[str, Any]:
    """For `metrics.json`: first metrics, `systems`, and the `verdict` if there is one.

    Where there are several tasks, the latter two are by task.
    """
    found: dict[str, Any] = {}
    for each in compared:
        found |= each.headline
    systems = {
        each.labels.name: {name: system.values for name, system in each.systems.items()}
        for each in compared
    }
    verdicts = {each.labels.name: each.verdict for each in compared if each.verdict}
    for name, by_task in (("systems", systems), ("verdict", verdicts)):
        if by_task:
            found[name] = by_task.get("", by_task)
    return found


def compare(
    model: Trained,
    measured: Sequence[dict[str, Any]],
    answers: Sequence[tuple[tuple, Mapping]],
    dataset: Dataset,
    split: str,
    chosen: dict[str, dict],
    console: Console,
    *,
    with_baseline: bool,
    others: Mapping[str, System],
) -> tuple[list[Compared], list[str]]:
    """What the model, its twin from scratch and the baseline have measured on each task's labels.

    Args:
        model: From `trained.load`.
        measured: By it, and by its twin if there is one.
        answers: Of `validation.answers`, likewise.
        dataset: With the split, and 'train'.
        split: That was measured on.
        chosen: By the model on validation data.
        console: Where to talk.
        with_baseline: Fit MFCC statistics.
        others: Systems of the only task that are measured already, by name.

    Returns:
        One for each task that was measured; and warnings.
    """
    compared, warnings = [], []
    can_be_heard = with_baseline and baseline.is_possible(dataset, split)
    for name, labels in model.contract.by_objective.items():
        systems = dict(_systems(model, name, labels, measured, answers))
        if systems and can_be_heard:
            answered = baseline.measure(dataset, labels, split, console, tuned=name in chosen)
            systems[BASELINE] = System(*answered, is_baseline=True)
        if systems:
            compared.append(Compared(labels, systems | dict(others)))
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


def _systems(
    model: Trained,
    name: str,
    labels: Labels,
    measured: Sequence[dict[str, Any]],
    answers: Sequence[tuple[tuple, Mapping]],
) -> Iterator[tuple[str, System]]:
    """What the model and its twin have measured on some labels, by system and view."""
    config, objective = model.config, model.learner.objectives.get(name)
    starts = [start for start in (config.init_from, config.init.text, config.init.audio) if start]
    origins = [f"from {' and '.join(starts) or 'scratch'}", "from scratch"]
    how = config.evaluation.aggregate
    for number, (origin, values) in enumerate(zip(origins, measured, strict=False)):
        for view, entry in validation.views(values.get(name, {}), labels.task):
            hits = None
            if labels.task == "single_label":
                hits = Hits.of(*objective.tracks(answers[number][1][name], view, how))
            shown = f"{config.model.name} {origin}: {view.replace('_', ' + ')}"
            yield shown, System(entry, hits, is_baseline=number > 0)
