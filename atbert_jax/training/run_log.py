"""What a run reports: the metrics of its steps, and what it is worth on validation data."""

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import ml_collections
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.progress import Meter
from atbert_jax.parallel import sharding
from atbert_jax.training import optimizer, pictures, run_folder, validation
from atbert_jax.training.state import TrainState
from atbert_jax.training.step import Metrics, make_evaluation_step
from atbert_jax.training.writers import Writer, read_metrics

if TYPE_CHECKING:
    from atbert_jax.input_pipeline.batching.batches import Batches


def best_metrics(workdir: Path) -> dict[str, float | None]:
    """The validation metrics of a run's best checkpoint, the latest of equals; {} if lost."""
    name = run_folder.load_config(workdir).evaluation.best_metric
    validated = [
        {"step": row["step"]}
        | {key.removeprefix("val/"): row[key] for key in row if key.startswith("val/")}
        for row in read_metrics(workdir)
        if "val/loss" in row and row["step"]  # nothing is learned at step 0
    ]
    if not validated:
        message = "%s: metrics.jsonl has lost its validations; measure with `atbert evaluate`"
        logging.getLogger(__name__).warning(message, workdir)
        return {}
    # A metric that was undefined, as an AUC of one class alone, is not in its row.
    return max(validated, key=lambda row: (score({name: None} | row, name), row["step"]))


def score(metrics: dict[str, float | None], name: str) -> float:
    """The metric that decides which checkpoint is best; higher is better.

    Raises:
        ValueError: if there is none of this name.
    """
    value = metrics[choices.require("config.evaluation.best_metric", name, sorted(metrics))]
    if value is None or not np.isfinite(value):
        return float("-inf")
    return -value if name.endswith("loss") else value


def introduce(
    writer: Writer, config: ml_collections.ConfigDict, batch: dict, contract: Contract
) -> None:
    """Shows TensorBoard the config, and what the first clips of a batch look like to the model."""
    text = json.dumps(json.loads(config.to_json_best_effort()), indent=2)
    writer.texts(0, {"config": f"```\n{text}\n```"})
    writer.pictures(0, pictures.of_inputs(batch, contract))


class StepLog:
    """Writes the metrics of steps, each when the next one is already under way.

    Args:
        config: The whole config; `train.log_every` steps are one row.
        workdir: The run's folder, which errors name.
        batches: What reads, and counts the records that cannot be read.
        writer: Of the rows.
        meter: Shows the progress.
        pending: Metrics of the steps before that are in no row yet.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        batches: "Batches",
        writer: Writer,
        meter: Meter,
        pending: list[dict],
    ) -> None:
        self._config, self._workdir, self._batches = config, workdir, batches
        self._writer, self._meter, self._pending = writer, meter, pending
        self._rate = optimizer.schedule(config.optimizer, config.train.steps)
        self._running: tuple[int, Metrics] | None = None

    def add(self, number: int, metrics: Metrics) -> None:
        """Takes the metrics of a step that may still run, and settles the step before."""
        self.settle()
        self._running = number, metrics

    def settle(self) -> list[dict]:
        """Waits for the latest step, and writes what is due.

        Returns:
            The metrics of the steps that are in no row yet.

        Raises:
            ValueError: if the run learns nothing any more, or too many records cannot be read.
        """
        if self._running:
            (number, metrics), self._running = self._running, None
            metrics = jax.device_get(metrics)
            self._pending.append({name: float(value) for name, value in metrics.items()})
            train = self._config.train
            due = number % train.log_every == 0 or number == train.steps
            self._meter.advance(note=self._write(number) if due else "")
        return self._pending

    def _write(self, number: int) -> str:
        rows, self._pending = self._pending, []
        # Steps that were skipped have no loss to speak of.
        finite = [row for row in rows if np.isfinite(row["loss"] + row["gradient_norm"])]
        means = {name: float(np.mean([row[name] for row in finite])) for name in rows[0] if finite}
        values = {f"train/{name}": value for name, value in means.items()}
        values["train/nonfinite_steps"] = rows[-1]["nonfinite_steps"]
        values["train/nonfinite_in_a_row"] = max(row["nonfinite_in_a_row"] for row in rows)
        values["train/bad_records"] = len(self._batches.bad_records)
        values["train/odd_records"] = self._batches.bad_records.odd
        values["train/learning_rate"] = float(self._rate(number - 1))
        self._writer.scalars(number, values)
        self._require_health(int(values["train/nonfinite_in_a_row"]))
        return f"loss {values['train/loss']:.4f}" if finite else "no finite loss"

    def _require_health(self, nonfinite: int) -> None:
        limit, share = self._config.train.max_nonfinite, self._config.data.max_bad_share
        if nonfinite >= limit:
            raise ValueError(
                f"{nonfinite} steps in a row had no finite loss or gradient and were left out"
                f" (config.train.max_nonfinite={limit}); the checkpoints in {self._workdir} are"
                " from before: lower config.optimizer.learning_rate, or look for broken audio or"
                " labels"
            )
        bad, records = self._batches.bad_records, self._batches.dataset.split("train").records
        if len(bad) <= share * len(records):
            return
        unreadable = sum(record in bad for record in records)  # some may be of the validation
        if unreadable > share * len(records):
            raise ValueError(
                f"{unreadable} of {len(records)} training records could not be read, more than"
                f" config.data.max_bad_share={share} allows; see"
                f" {self._workdir / 'bad_records.jsonl'}"
            )


def make_validation(
    config: ml_collections.ConfigDict,
    definition: nnx.GraphDef,
    mesh: Mesh,
    params: dict,
    batches: "Batches",
    writer: Writer,
) -> Callable[[TrainState], tuple[float, str]]:
    """Compiles what measures a state on the validation split, and writes what it is worth.

    Args:
        config: The whole config.
        definition: From `state.initialize`.
        mesh: Devices.
        params: Shardings of the parameters.
        batches: What reads the split.
        writer: Of the metrics, and of what objectives draw.

    Returns:
        `state -> (score, line)`: higher is better, and the line says so. It raises a ValueError if
        `config.evaluation.best_metric` is not measured.
    """
    evaluate = make_evaluation_step(definition, mesh, params)
    draw = pictures.make_picture_step(definition, mesh, params)
    wanted, size = config.evaluation, config.evaluation.batch_size
    read = functools.partial(batches.evaluation, "val", size, sharding.rows(mesh, size))
    # The first batch, whose first clips are drawn.
    drawn = functools.cache(lambda: sharding.put(next(read()), mesh))

    def validate(state: TrainState) -> tuple[float, str]:
        step, model = int(state.step), (state.params, state.statistics)
        ((sums, outputs),) = validation.answers([functools.partial(evaluate, *model)], read(), mesh)
        learner = nnx.merge(definition, *model)
        metrics = validation.measure(learner, config.objectives, sums, outputs, wanted.aggregate)
        values = validation.scalars(metrics)
        worth = score(values, wanted.best_metric)
        writer.scalars(step, {f"val/{name}": value for name, value in values.items()})
        if any(objective.draws for objective in learner.objectives.values()):
            images = jax.device_get(draw(*model, drawn()))
            writer.pictures(step, {f"val/{name}": image for name, image in images.items()})
        shown = {"loss": values["loss"], wanted.best_metric: values[wanted.best_metric]}
        text = ", ".join(f"{name} {x:.4f}" for name, x in shown.items() if x is not None)
        return worth, f"step {step}: validation {text}"

    return validate
