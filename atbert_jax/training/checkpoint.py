"""State -> checkpoint and back, through Orbax; a run's folder is complete by itself.

<workdir>/config.json      the resolved config
<workdir>/contract.json    preprocessing and label names
<workdir>/tokenizer/       the tokenizer's files
<workdir>/metrics.jsonl    what was measured on the way
<workdir>/checkpoints/     arrays by step: the latest ones and the best one
<workdir>/scratch/         of a fine-tuning run: the same network, trained from scratch
"""

import json
from pathlib import Path
from typing import Any

import jax
import ml_collections
from orbax.checkpoint import v1 as ocp

from atbert_jax.training.state import TrainState
from input_pipeline import text
from input_pipeline.contract import TOKENIZER, Contract

CONFIG = "config.json"
FOLDER = "checkpoints"
METRIC = "best_metric"
# Where a fine-tuning run keeps its twin that was trained from scratch.
SCRATCH = "scratch"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the folder and the way out."""


class Checkpoints:
    """The numbered checkpoints of a run.

    Args:
        workdir: The run's folder.
        keep_latest: How many of the latest to keep; the best one by the validation metric is kept
            beside them.
    """

    def __init__(self, workdir: Path, keep_latest: int = 1) -> None:
        policies = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            (workdir / FOLDER).absolute(),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(keep_latest),
                    policies.BestN(
                        get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False
                    ),
                ]
            ),
        )
        self._workdir = workdir

    def save(self, state: TrainState, metric: float) -> None:
        """Saves a state in the background.

        Args:
            state: To save.
            metric: Higher is better.
        """
        self._checkpointer.wait()  # a save is skipped while another one is going on
        self._checkpointer.save_checkpointables_async(
            int(state.step),
            {
                "params": state.params,
                "statistics": state.statistics,
                "optimizer": state.optimizer,
                "step": {"step": state.step},
            },
            metrics={METRIC: metric},
            overwrite=True,
        )

    @property
    def latest(self) -> int | None:
        """Step of the latest checkpoint, or None."""
        found = self._checkpointer.latest
        return found.step if found else None

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest metric, or None."""
        found = list(self._checkpointer.checkpoints)
        return max(found, key=lambda entry: _metric(entry.metrics)).step if found else None

    def restore_state(self, step: int, like: TrainState) -> TrainState:
        """The whole state of a step, placed as `like` is."""
        names = ("params", "statistics", "optimizer")
        targets = {name: _abstract(getattr(like, name)) for name in names}
        targets["step"] = {"step": _abstract(like.step)}
        loaded = self._load(step, targets)
        return TrainState(
            loaded["step"]["step"], loaded["params"], loaded["statistics"], loaded["optimizer"]
        )

    def restore_model(self, step: int, params: dict, statistics: dict) -> tuple[dict, dict]:
        """Parameters and statistics of a step, which must have these very shapes."""
        loaded = self._load(step, {"params": params, "statistics": statistics})
        return loaded["params"], loaded["statistics"]

    def restore_arrays(self, step: int) -> dict[str, dict]:
        """Parameters and statistics of a step, whatever their names are."""
        return self._load(step, {"params": None, "statistics": None})

    def _load(self, step: int, targets: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._checkpointer.load_checkpointables(step, targets)
        except Exception as error:
            cause = error.__cause__ or error
            raise CheckpointError(
                f"{self._workdir}: checkpoint {step} does not fit this model"
                f" ({type(cause).__name__}: {str(cause).splitlines()[0][:200]});"
                " use the config that it was trained with, or another --workdir"
            ) from error

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._checkpointer.close()


def _metric(metrics: dict | None) -> float:
    return float((metrics or {}).get(METRIC, float("-inf")))


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def save_run(
    workdir: Path, config: ml_collections.ConfigDict, contract: Contract, tokenizer: Any
) -> None:
    """Writes what a checkpoint folder holds beside the arrays."""
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / CONFIG).write_text(config.to_json_best_effort(indent=2) + "\n", encoding="utf-8")
    contract.save(workdir)
    text.save_tokenizer(tokenizer, workdir / TOKENIZER)


def load_config(workdir: Path) -> ml_collections.ConfigDict:
    """The resolved config of a run.

    Raises:
        CheckpointError: if the folder is not that of a run.
    """
    path = workdir / CONFIG
    if not path.exists():
        raise CheckpointError(
            f"{workdir}: no {CONFIG} here, so this is not a checkpoint folder; give the --workdir"
            " of a training run"
        )
    return ml_collections.ConfigDict(json.loads(path.read_text(encoding="utf-8")))


def load_run(workdir: Path) -> tuple[ml_collections.ConfigDict, Contract, Any]:
    """Config, contract and tokenizer of a run.

    Raises:
        CheckpointError: if the folder is not that of a run.
    """
    config = load_config(workdir)
    return config, Contract.load(workdir), text.load_tokenizer(workdir / TOKENIZER)
