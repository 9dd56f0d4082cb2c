"""A run in Weights & Biases or MLflow, beside what is in its own folder.

Both read their own settings: where they write and under which project or experiment say
`WANDB_PROJECT`, `WANDB_MODE=offline` and the like, or `MLFLOW_TRACKING_URI` and
`MLFLOW_EXPERIMENT_NAME`.
"""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import ml_collections

from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible
from atbert_jax.training import sameness

FILE = "tracker.json"
REMEDY = "delete it, and the run goes on as a new one there"
# Of a project or an experiment, where nothing says another.
PROJECT = "atbert_jax"
# Characters that MLflow takes of a parameter, and parameters at a time.
MLFLOW_LENGTH, MLFLOW_BATCH = 500, 100


class Tracker(Protocol):
    """One run of a tracker.

    Attributes:
        identity: By which the tracker finds it again.
    """

    identity: str

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers of a step."""

    def finish(self, state: str) -> None:
        """Ends the run: 'finished', 'stopped' (it will go on) or 'failed'."""


class Wandb:
    """A run of Weights & Biases.

    Args:
        workdir: The run's folder, which gets `wandb/`.
        params: Fields of the config by their dotted names.
        identity: Of the run to go on with; empty: a new one.
    """

    def __init__(self, workdir: Path, params: Mapping[str, Any], identity: str) -> None:
        import wandb

        self._run = wandb.init(
            dir=str(workdir),
            name=_name(workdir),
            config=dict(params),
            id=identity or None,
            resume="allow" if identity else None,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
        )
        self.identity = self._run.id
        # Its own steps never go back, and those of a run that goes on do.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers of a step."""
        self._run.log({"step": step, **values})

    def finish(self, state: str) -> None:
        """Ends the run."""
        self._run.finish(exit_code=int(state == "failed"))


class Mlflow:
    """A run of MLflow.

    Args:
        workdir: The run's folder.
        params: Fields of the config by their dotted names.
        identity: Of the run to go on with; empty: a new one.
    """

    STATES = MappingProxyType({"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"})

    def __init__(self, workdir: Path, params: Mapping[str, Any], identity: str) -> None:
        import mlflow
        from mlflow.entities import Metric, Param

        self._metric, self._client = Metric, mlflow.MlflowClient()
        if identity:
            self.identity = identity
            self._client.update_run(identity, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run = self._client.create_run(experiment, run_name=_name(workdir))
        self.identity = run.info.run_id
        listed = [Param(key, str(value)[:MLFLOW_LENGTH]) for key, value in params.items()]
        for first in range(0, len(listed), MLFLOW_BATCH):
            self._client.log_batch(self.identity, params=listed[first : first + MLFLOW_BATCH])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers of a step."""
        now = int(time.time() * 1000)
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self.identity, metrics=metrics)

    def finish(self, state: str) -> None:
        """Ends the run."""
        self._client.set_terminated(self.identity, self.STATES[state])


KINDS = {"wandb": Wandb, "mlflow": Mlflow}
# What to look at where one does not answer.
SETTINGS = {
    "wandb": "see to `wandb login` and the network, set WANDB_MODE=offline",
    "mlflow": "see that MLFLOW_TRACKING_URI is right and answers",
}


class Guarded:
    """A tracker that may fail once the run is under way, which costs its numbers and no more.

    After a failure it is left alone: clients try for minutes before they give up, at each row.

    Args:
        tracker: That writes; None if it could not be reached.
    """

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker, self._lost = tracker, 0

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers of a step; that it cannot is said once, and later rows are counted."""
        if self._tracker:
            try:
                self._tracker.scalars(step, values)
                return
            except Exception as error:  # whatever a service and its client may do
                message = "step %d: the tracker takes no numbers (%s); the run goes on without it"
                logging.getLogger(__name__).warning(message, step, _said(error))
                self._tracker = None
        self._lost += 1

    def finish(self, state: str) -> None:
        """Ends the run, where the tracker has not failed; see `Tracker`."""
        if self._tracker:
            try:
                self._tracker.finish(state)
            except Exception as error:
                message = "the tracker's run is not ended: %s"
                logging.getLogger(__name__).warning(message, _said(error))
        if self._lost:
            message = "rows that the tracker lacks: %d; all of them are in metrics.jsonl"
            logging.getLogger(__name__).warning(message, self._lost)


def start(config: ml_collections.ConfigDict, workdir: Path) -> Guarded | None:
    """The tracker that `config.train.tracker` names; it goes on with the run that it had before.

    Args:
        config: Of the run; its fields are the parameters that the tracker shows.
        workdir: The run's folder, which gets `tracker.json`.

    Raises:
        ValueError: if `tracker.json` is damaged, or the tracker takes no new run. One that does not
            take the run that it had before costs its numbers, and that is said.
    """
    kind, file = config.train.tracker, workdir / FILE
    if not kind:
        return None
    known = whole_file.read_json(file, REMEDY) if file.is_file() else {}
    identity = known.get("run", "") if known.get("tracker") == kind else ""
    if not isinstance(identity, str):
        raise ValueError(f"{file}: {identity!r:.40} is no run; {REMEDY}")
    params = {name: each for name, each in sameness.fields(config).items() if each is not None}
    try:
        tracker = KINDS[kind](workdir, params, identity)
    except Exception as error:  # whatever a service and its client may do
        if not identity:
            raise ValueError(
                f"config.train.tracker={kind!r} takes no new run ({_said(error)});"
                f" {SETTINGS[kind]}, or train without it, --config.train.tracker="
            ) from error
        message = "%s cannot go on with what it has of %s (%s); the run goes on without it; %s"
        said = kind, workdir, _said(error), f"{SETTINGS[kind]}; or, of {FILE}: {REMEDY}"
        logging.getLogger(__name__).warning(message, *said)
        return Guarded(None)
    whole_file.write_json(file, {"tracker": kind, "run": tracker.identity})
    return Guarded(tracker)


def _said(error: Exception) -> str:
    """What a client says, in one line."""
    return visible(" ".join(str(error).split())) or type(error).__name__


def _name(workdir: Path) -> str:
    """What people see a run under: its folder, and that above where it is a twin."""
    return "/".join(workdir.absolute().parts[-2:])
