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

from atbert_jax.training.sharding import placed
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
        """Step of the checkpoint with the highest metric, the latest of equals; or None."""
        found = [(_metric(entry.metrics), entry.step) for entry in self._checkpointer.checkpoints]
        return max(found)[1] if found else None

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
        """Parameters and statistics of a step, whatever their names are, on one device."""
        stored = self._stored(step)
        # Placed anew: the devices that the checkpoint was written from need not be here.
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return self._load(
            step, {name: placed(stored[name], device) for name in ("params", "statistics")}
        )

    def _load(self, step: int, targets: dict[str, Any]) -> dict[str, Any]:
        # Orbax itself loads arrays of another shape or type without a word.
        misfits = _misfits(self._stored(step), targets)
        if misfits:
            more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
            raise CheckpointError(
                f"{self._workdir}: checkpoint {step} does not fit this model"
                f" ({'; '.join(misfits[:3])}{more}); use the config that it was trained with, or"
                " another --workdir"
            )
        try:
            return self._checkpointer.load_checkpointables(step, targets)
        except Exception as error:
            raise self._damaged(step, error) from error

    def _stored(self, step: int) -> dict[str, Any]:
        """Shapes and types of a checkpoint's arrays."""
        steps = sorted(entry.step for entry in self._checkpointer.checkpoints)
        if step not in steps:
            raise CheckpointError(
                f"{self._workdir}: has no checkpoint {step}; there are {steps or 'none'}"
            )
        try:
            stored = self._checkpointer.checkpointables_metadata(step).metadata
        except Exception as error:
            raise self._damaged(step, error) from error
        if not stored.get("params"):
            raise self._damaged(step, OSError("its parameters are not there whole"))
        return stored

    def _damaged(self, step: int, error: Exception) -> CheckpointError:
        cause = error.__cause__ or error
        return CheckpointError(
            f"{self._workdir}: checkpoint {step} cannot be read"
            f" ({type(cause).__name__}: {str(cause).splitlines()[0][:200]}); remove"
            f" {self._workdir / FOLDER / str(step)} to use another one"
        )

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._checkpointer.close()


def _metric(metrics: dict | None) -> float:
    return float((metrics or {}).get(METRIC, float("-inf")))


def _misfits(stored: dict[str, Any], targets: dict[str, Any]) -> list[str]:
    """Where the arrays of a checkpoint are not those that are wanted, one text each."""
    found = []
    for name, target in targets.items():
        ours, theirs = _arrays(target), _arrays(stored.get(name))
        for path in sorted(ours.keys() | theirs.keys()):
            here, there = ours.get(path, "not wanted"), theirs.get(path, "missing")
            if here != there:
                found.append(f"{name}/{path}: {there} there, {here} here")
    return found


def _arrays(tree: Any) -> dict[str, str]:
    """Shape and type of each array, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.shape} {x.dtype}"
        for path, x in leaves
    }


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
