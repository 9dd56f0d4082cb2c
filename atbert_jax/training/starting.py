"""How a run starts: it goes on where it was, or from other weights, or from scratch."""

import logging
from pathlib import Path

import jax
import ml_collections
import optax
from rich.console import Console

from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.training import checkpoint, converted, run_folder, sameness, transfer
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from atbert_jax.training.state import TrainState

# Fields that may change when a run goes on; any other would make it another run.
CHANGEABLE = (
    "train",
    "evaluation",
    "scratch_twin",
    "sharding",
    "data.memory_mb",
    "data.threads",
    "data.max_bad_share",
)


def require_same(
    old: ml_collections.ConfigDict, new: ml_collections.ConfigDict, workdir: Path
) -> None:
    """Refuses to go on with a run under another config; says what has changed of what may.

    What earlier versions of the presets had stays as the run began, and `new` says so then: splits
    that were not stratified, and a number of steps to warm up instead of a share of the run.

    Raises:
        CheckpointError: naming the fields that differ.
    """
    if "data" in old and not old.data.get("stratify", False):
        new.data.stratify = False
    if old.optimizer.warmup_steps >= 1 and 0 < new.optimizer.warmup_steps < 1:
        new.optimizer.warmup_steps = old.optimizer.warmup_steps
        message = "%s: the warm-up stays at the %g steps that the run began with"
        logging.getLogger(__name__).warning(message, workdir, old.optimizer.warmup_steps)
    differ = sameness.changes(sameness.fields(old), sameness.fields(new), CHANGEABLE)
    if differ:
        raise CheckpointError(
            f"{workdir} holds a run with another config ({differ}); use another --workdir, or the"
            " same config to go on"
        )
    if changed := sameness.changes(sameness.fields(old), sameness.fields(new), ()):
        logging.getLogger(__name__).warning("%s goes on with %s", workdir, changed)


def preprocessing(
    config: ml_collections.ConfigDict, workdir: Path, other: Path | None = None
) -> Path | None:
    """The folder of the run whose preprocessing this one takes; None if it makes its own.

    Raises:
        ValueError: if the run cannot go on under this config, or what it would start from is no
            run or does not fit; it says so before the audio is measured.
    """
    if (workdir / checkpoint.CONFIG).exists():
        require_same(run_folder.load_config(workdir), config, workdir)
        return workdir
    converted.find(config)
    if config.init_from:
        other = other or Path(config.init_from)
        run_folder.load_config(other)
    return other


def start(
    state: TrainState,
    checkpoints: Checkpoints,
    config: ml_collections.ConfigDict,
    dataset: Dataset,
    console: Console,
) -> tuple[TrainState, list[dict]]:
    """Makes a new state the one that a run starts with.

    Args:
        state: New, random.
        checkpoints: Of the run; it goes on from the latest one, if there is any.
        config: The whole config, whose `init_from` and `init` say where it starts otherwise.
        dataset: Of the run.
        console: Where to talk.

    Returns:
        The state, and the metrics of its steps that are not logged yet.

    Raises:
        ValueError: if what it starts from does not fit, or what is random would be frozen.
    """
    sizes = {name: len(split.records) for name, split in dataset.splits.items()}
    console.print(
        f"{config.model.name}: {optax.tree.size(state.trained):,} parameters trained,"
        f" {optax.tree.size(state.frozen):,} frozen; records"
        f" {', '.join(f'{name} {size:,}' for name, size in sizes.items())};"
        f" {len(jax.devices())} x {jax.devices()[0].device_kind}"
    )
    found = checkpoints.restore_latest(state)
    if found is not None:
        console.print(f"goes on at step {int(found[0].step)} of {checkpoints.workdir}")
        return found
    if config.init_from:
        state, taken, lines = transfer.start_from(
            state, Path(config.init_from), config.init_allow_mismatch, dataset.contract
        )
    else:
        state, taken, lines = converted.start_from(state, config, dataset)
    for line in lines:
        console.print(line, highlight=False)
    transfer.require_learned(state.frozen, taken)
    return state, []
