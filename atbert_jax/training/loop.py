"""The training loop, the same for every model and objective."""

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import ml_collections
import numpy as np
from flax import nnx
from rich.console import Console

from atbert_jax import models
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.progress import Meter
from atbert_jax.parallel import distributed, sharding
from atbert_jax.training import (
    checkpoint,
    converted,
    freezing,
    optimizer,
    pictures,
    resuming,
    transfer,
    validation,
)
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.profiling import Trace
from atbert_jax.training.state import TrainState, initialize, lay_out
from atbert_jax.training.step import make_evaluation_step, make_train_step
from atbert_jax.training.writers import Writer, read_metrics


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    console: Console | None = None,
    preprocessing: Path | None = None,
    profile: int = 0,
) -> dict[str, float | None]:
    """Trains what the config describes; a run that was stopped goes on where it was.

    Args:
        config: See `configs/defaults.py`.
        workdir: The run's folder; see `checkpoint` for what is in it afterwards.
        console: Where to talk.
        preprocessing: A run whose preprocessing and tokenizer a new run takes; by default those of
            `config.init_from`, or else its own.
        profile: So many steps are traced (see `profiling`).

    Returns:
        The best validation metrics, by name.

    Raises:
        ValueError: before the first step, if the config, the manifest or a checkpoint is not as it
            should be; later, if too many files are bad, or too many losses in a row not finite; the
            message names the place and the way out.
        SystemExit: with `distributed.STOPPED` after SIGTERM or SIGINT, when the state is saved.
    """
    console = console or Console()
    if not distributed.is_first():
        console = Console(quiet=True)
    Run(config, workdir, console, preprocessing).train(profile)
    return best_metrics(workdir)


def best_metrics(workdir: Path) -> dict[str, float | None]:
    """The validation metrics of a run's best checkpoint, the latest of equals."""
    name = checkpoint.load_config(workdir).evaluation.best_metric
    rows = [row for row in checkpoint_rows(workdir) if "val/loss" in row]
    # A metric that was undefined, as an AUC of one class alone, is not in its row.
    best = max(rows, key=lambda row: (_score({name: None} | _validation(row), name), row["step"]))
    return _validation(best) | {"step": best["step"]}


def checkpoint_rows(workdir: Path) -> list[dict]:
    """The rows of `metrics.jsonl` behind step 0, where nothing is learned yet."""
    return [row for row in read_metrics(workdir) if row["step"]]


def _validation(row: dict) -> dict[str, float]:
    return {k.removeprefix("val/"): v for k, v in row.items() if k.startswith("val/")}


def _score(metrics: dict[str, float | None], name: str) -> float:
    """The metric that decides which checkpoint is best; higher is better."""
    if name not in metrics:
        raise ValueError(
            f"config.evaluation.best_metric={name!r} is not measured; choose from"
            f" {', '.join(sorted(metrics))}"
        )
    value = metrics[name]
    if value is None or not np.isfinite(value):
        return float("-inf")
    return -value if name.endswith("loss") else value


class Run:
    """One training run: what it reads, what it changes, what it writes."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        console: Console,
        preprocessing: Path | None,
    ) -> None:
        # TensorFlow is imported here, where data is read, and nowhere else in this package.
        from atbert_jax.input_pipeline.batching.bad_records import BadRecords
        from atbert_jax.input_pipeline.batching.batches import Batches

        self.config, self.workdir, self.console = config, workdir, console
        self.mesh = sharding.make_mesh(config.sharding)
        sharding.require_divisible(
            config.train.batch_size, self.mesh, "config.train.batch_size", config.train.accumulate
        )
        sharding.require_divisible(
            config.evaluation.batch_size, self.mesh, "config.evaluation.batch_size"
        )
        sharding.require_all_rows(self.mesh, config.train.batch_size)
        self.optimizer = optimizer.build(config.optimizer, config.train.steps)
        self.reloads = optimizer.reloads(config)
        self.dataset = self._load(preprocessing)
        self.dataset.split("train"), self.dataset.split("val")
        contract = self.dataset.contract
        self.layout = lay_out(config, contract, self.optimizer, self.mesh)
        self.definition, self.state = initialize(config, contract, self.optimizer, self.layout)
        self.bad_records = BadRecords(workdir if distributed.is_first() else None)
        any_length = models.trunk_class(config.model.name).any_length
        self.batches = Batches(config, self.dataset, self.bad_records, any_length=any_length)
        self.checkpoints = Checkpoints(workdir, config.train.keep_latest)
        self.pending: list[dict] = []  # metrics of the steps since the last row of metrics.jsonl
        self.running: tuple[int, dict[str, jax.Array]] | None = None  # the latest step's, likewise
        self._start()
        # After everything that can refuse a config, so that a corrected one is not another run.
        if distributed.is_first():
            checkpoint.save_run(workdir, config, contract, self.dataset.tokenizer)
        self.writer = Writer(workdir, int(self.state.step), writes=distributed.is_first())
        self.evaluate = make_evaluation_step(self.definition, self.mesh, self.layout.state.params)
        self.draw = pictures.make_picture_step(self.definition, self.mesh, self.layout.state.params)

    def _load(self, preprocessing: Path | None) -> Dataset:
        """The data; its contract is this run's, or that of another run, or new."""
        config, workdir = self.config, self.workdir
        if (workdir / checkpoint.CONFIG).exists():
            resuming.require_same(checkpoint.load_config(workdir), config, workdir)
            preprocessing = workdir
        else:
            converted.find(config)  # says so if they do not fit, before the audio is measured
            if config.init_from:
                preprocessing = preprocessing or Path(config.init_from)
                checkpoint.load_config(preprocessing)  # says so if it is no run's folder
        workdir.mkdir(parents=True, exist_ok=True)
        with self.console.status("reading the manifest and measuring the audio"):
            if distributed.is_first():
                data = self._read(preprocessing)
                checkpoint.save_preprocessing(workdir, data.contract, data.tokenizer)
            # What the first process measured and trained, the others take.
            distributed.wait_for_all("preprocessing")
            return data if distributed.is_first() else self._read(workdir)

    def _read(self, preprocessing: Path | None) -> Dataset:
        from atbert_jax.input_pipeline import dataset
        from atbert_jax.input_pipeline.batching import batches

        contract = tokenizer = None
        if preprocessing:
            contract, tokenizer = checkpoint.load_preprocessing(preprocessing)
        return dataset.load(
            self.config,
            self.workdir,
            contract=contract,
            tokenizer=tokenizer,
            measure=lambda data: batches.measure_normalization(self.config, data),
        )

    def _start(self) -> None:
        """Goes on where the run was, or starts from another checkpoint, or from scratch."""
        sizes = {name: len(split.records) for name, split in self.dataset.splits.items()}
        trained, frozen = freezing.sizes(self.state.params, self.config.optimizer.frozen)
        self.console.print(
            f"{self.config.model.name}: {trained:,} parameters trained, {frozen:,} frozen; records"
            f" {', '.join(f'{name} {size:,}' for name, size in sizes.items())};"
            f" {self.mesh.size} x {jax.devices()[0].device_kind}"
        )
        found = self.checkpoints.restore_latest(self.state)
        if found is not None:
            self.state, self.pending = found
            self.console.print(f"goes on at step {int(self.state.step)} of {self.workdir}")
            return
        if self.config.init_from:
            self.state, done = transfer.start_from(
                self.state, Path(self.config.init_from), tuple(self.config.init_allow_mismatch)
            )
            taken, lines = done.taken, done.lines(self.config.init_from)
        else:
            self.state, taken, lines = converted.start_from(self.state, self.config, self.dataset)
        for line in lines:
            self.console.print(line, highlight=False)
        transfer.require_learned(self.state.params, self.config.optimizer.frozen, taken)

    def train(self, profile: int = 0) -> None:
        """Steps until the end, with a validation and a checkpoint every so often."""
        trace = Trace(self.workdir, profile, self.console)
        # Whatever happens, a checkpoint that is being written gets finished.
        closing = contextlib.closing
        with closing(self.checkpoints), closing(self.writer), closing(trace):
            self._train(trace)

    def _train(self, trace: Trace) -> None:
        first, steps = int(self.state.step), self.config.train.steps
        if padding := self.batches.padding("train", self.config.train.batch_size):
            self.console.print(padding, highlight=False)
        stream = self._stream(first)
        step = make_train_step(self.config, self.definition, self.optimizer, self.mesh, self.layout)
        if not first:
            self._introduce()
            self._validate()
        meter = Meter("training", steps, "steps", done=first, console=self.console)
        with meter, distributed.Interruption() as interruption:
            for number in range(first + 1, steps + 1):
                if number - 1 in self.reloads:
                    self._reload()
                trace.advance(self.state.step)
                batch = sharding.put(next(stream), self.mesh)
                self.state, metrics = step(self.state, batch)
                self._settle(meter)  # the step before, while this one runs
                self.running = (number, metrics)
                if number % self.config.train.evaluate_every == 0 or number == steps:
                    self._settle(meter)
                    self._checkpoint()
                if number < steps and interruption.asked(number):
                    self._settle(meter)
                    self._stop()

    def _settle(self, meter: Meter) -> None:
        """Waits for the latest step, if it is not settled yet, and logs what is due."""
        if not self.running:
            return
        (number, metrics), self.running = self.running, None
        metrics = jax.device_get(metrics)
        self.pending.append({name: float(value) for name, value in metrics.items()})
        due = number % self.config.train.log_every == 0 or number == self.config.train.steps
        meter.advance(note=self._log(number) if due else "")

    def _reload(self) -> None:
        """Goes back to the best weights so far; what the optimizer remembers stays.

        This belongs to the step that follows, so a run that stops between the two does it when it
        goes on.
        """
        number = int(self.state.step)
        best, self.state = self.checkpoints.restore_best(self.state)
        self.console.print(f"step {number}: on with the weights of step {best}", highlight=False)

    def _stream(self, first: int) -> Iterator[dict[str, np.ndarray]]:
        size = self.config.train.batch_size
        return self.batches.train("train", size, first, rows=sharding.rows(self.mesh, size))

    def _stop(self) -> None:
        """Saves and leaves; the same command goes on after this very step."""
        number = int(self.state.step)
        if self.checkpoints.latest != number:
            self.checkpoints.save(self.state, None, self.pending)
        self.console.print(
            f"asked to stop: step {number} is saved in {self.workdir}; the same command goes on"
            f" there (exit code {distributed.STOPPED})"
        )
        raise SystemExit(distributed.STOPPED)

    def _introduce(self) -> None:
        """Shows TensorBoard the config and what the first clips look like to the model."""
        text = json.dumps(json.loads(self.config.to_json_best_effort()), indent=2)
        self.writer.texts(0, {"config": f"```\n{text}\n```"})
        self.writer.pictures(0, pictures.of_inputs(next(self._stream(0)), self.dataset.contract))

    def _log(self, number: int) -> str:
        rows, self.pending = self.pending, []
        # Steps that were skipped have no loss to speak of.
        finite = [row for row in rows if np.isfinite(row["loss"] + row["gradient_norm"])]
        means = {name: float(np.mean([row[name] for row in finite])) for name in rows[0] if finite}
        values = {f"train/{name}": value for name, value in means.items()}
        values["train/nonfinite_steps"] = rows[-1]["nonfinite_steps"]
        values["train/nonfinite_in_a_row"] = max(row["nonfinite_in_a_row"] for row in rows)
        values["train/bad_records"] = len(self.bad_records)
        values["train/odd_records"] = self.bad_records.odd
        values["train/learning_rate"] = float(
            optimizer.schedule(self.config.optimizer, self.config.train.steps)(number - 1)
        )
        self.writer.scalars(number, values)
        self._require_health(values)
        return f"loss {values['train/loss']:.4f}" if finite else "no finite loss"

    def _require_health(self, values: dict[str, float]) -> None:
        """Ends a run that learns nothing any more.

        Raises:
            ValueError: saying why.
        """
        limit = self.config.train.max_nonfinite
        if values["train/nonfinite_in_a_row"] >= limit:
            raise ValueError(
                f"{int(values['train/nonfinite_in_a_row'])} steps in a row had no finite loss or"
                f" gradient and were left out (config.train.max_nonfinite={limit}); the checkpoints"
                f" in {self.workdir} are from before: lower config.optimizer.learning_rate, or look"
                " for broken audio or labels"
            )
        records, share = len(self.dataset.split("train").records), self.config.data.max_bad_share
        if len(self.bad_records) > share * records:
            raise ValueError(
                f"{len(self.bad_records)} of {records} training records could not be read, more"
                f" than config.data.max_bad_share={share} allows; see"
                f" {self.workdir / 'bad_records.jsonl'}"
            )

    def _validate(self) -> dict[str, float | None]:
        size = self.config.evaluation.batch_size
        state: TrainState = self.state
        batches: Iterator = self.batches.evaluation("val", size, sharding.rows(self.mesh, size))
        model = functools.partial(self.evaluate, state.params, state.statistics)
        ((sums, outputs),) = validation.answers([model], batches, self.mesh)
        learner = nnx.merge(self.definition, state.params, state.statistics)
        metrics = validation.measure(
            learner, self.config.objectives, sums, outputs, self.config.evaluation.aggregate
        )
        values = validation.scalars(metrics)
        _score(values, self.config.evaluation.best_metric)  # refuses an unknown name at step 0
        self.writer.scalars(int(state.step), {f"val/{k}": v for k, v in values.items()})
        if any(objective.draws for objective in learner.objectives.values()):
            drawn = jax.device_get(self.draw(state.params, state.statistics, self._drawn))
            self.writer.pictures(int(state.step), {f"val/{k}": v for k, v in drawn.items()})
        return values

    @functools.cached_property
    def _drawn(self) -> dict[str, jax.Array]:
        """The first batch of validation, whose first clips are drawn."""
        size = self.config.evaluation.batch_size
        batches = self.batches.evaluation("val", size, sharding.rows(self.mesh, size))
        return sharding.put(next(batches), self.mesh)

    def _checkpoint(self) -> None:
        values = self._validate()
        name = self.config.evaluation.best_metric
        self.checkpoints.save(self.state, _score(values, name), self.pending)
        shown = {"loss": values["loss"], name: values[name]}
        text = ", ".join(f"{k} {v:.4f}" for k, v in shown.items() if v is not None)
        self.console.print(f"step {int(self.state.step)}: validation {text}", highlight=False)
