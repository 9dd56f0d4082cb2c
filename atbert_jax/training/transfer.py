"""Starting from a pre-trained checkpoint: what is taken over, what is new, what does not fit."""

import contextlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.training import published
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from atbert_jax.training.run_folder import load_preprocessing
from atbert_jax.training.state import TrainState
from atbert_jax.weights import engine

# The defaults of the fields that say which run a run starts from.
DEFAULTS = {
    "init_from": "",  # a checkpoint folder: preprocessing, tokenizer and all weights that fit
    "init_allow_mismatch": (),  # parameters that may differ, as regular expressions on their names
    "scratch_twin": True,  # train the same network from scratch as well, for the report
}


def require_learned(frozen: dict, taken: Sequence[str]) -> None:
    """Refuses to freeze what comes from no checkpoint.

    Args:
        frozen: Parameters of a new state, nested dicts.
        taken: Names of arrays that came from a checkpoint.

    Raises:
        ValueError: naming arrays that would stay random.
    """
    if random := sorted(engine.flat(frozen).keys() - set(taken)):
        raise ValueError(
            f"config.optimizer.frozen would keep {engine.listed(random)} random; set"
            " --config.init_from to a run that has learned them, or do not freeze them"
        )


def is_start(config: ml_collections.ConfigDict, preprocessing: Path | None) -> bool:
    """Whether a run takes its preprocessing from the run that `config.init_from` names."""
    return bool(config.init_from) and preprocessing == Path(config.init_from)


def _relabelled(old: Contract, new: Contract) -> dict[str, str]:
    """By the name of its objective, each head whose labels are others now, and how they differ."""
    found = {}
    for name, labels in new.by_objective.items():
        before = old.by_objective.get(name, labels)
        if (before.task, before.names) != (labels.task, labels.names):
            found[name] = f"{name} ({_shown(before)} there; {_shown(labels)} here)"
    return found


def _shown(labels: Labels) -> str:
    more = ", ..." if len(labels.names) > 3 else ""
    return f"{len(labels.names)} of {labels.task}: {', '.join(labels.names[:3])}{more}"


def read_best(workdir: Path) -> tuple[int, dict[str, Any]]:
    """The step of the best checkpoint, and its arrays by name, as `start_from` takes them.

    Args:
        workdir: Folder of a run, or of a model that was given away (`published`).

    Raises:
        CheckpointError: if there is no whole checkpoint, or the file of arrays is damaged.
    """
    if published.is_one(workdir):
        return published.read_all(workdir)
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        step, arrays = checkpoints.best_whole(checkpoints.restore_arrays)
    return step, engine.flat(arrays["params"], arrays["statistics"])


def start_from(
    state: TrainState,
    workdir: Path,
    allowed: Sequence[str] = (),
    contract: Contract | None = None,
) -> tuple[TrainState, list[str], list[str]]:
    """A new state with the arrays of the best checkpoint of another run.

    The trunk must be there whole; heads of objectives that the run did not have start anew, and so
    do those whose labels are others.

    Args:
        state: A new state.
        workdir: Folder of the other run.
        allowed: Regular expressions on names of arrays that may be missing or of another shape.
        contract: Of the new state; None if its labels are those of the other run.

    Returns:
        The state, the names of the arrays that were taken, as
        `model/encoders/shared/layers/0/query/kernel`, and lines to print that say so.

    Raises:
        CheckpointError: if there is no checkpoint, or an array of the trunk is missing or of
            another shape and not allowed to be.
    """
    step, theirs = read_best(workdir)
    relabelled = _relabelled(load_preprocessing(workdir)[0], contract) if contract else {}
    heads = tuple(f"objectives/{name}/" for name in relabelled)
    theirs = {name: array for name, array in theirs.items() if not name.startswith(heads)}
    ours = engine.flat(state.params, state.statistics)

    def refused(names: Iterable[str]) -> list[str]:
        return [name for name in names if not any(re.search(rule, name) for rule in allowed)]

    differ = sorted(n for n in ours if n in theirs and ours[n].shape != theirs[n].shape)
    if misfits := [f"{n} {theirs[n].shape} -> {ours[n].shape}" for n in refused(differ)]:
        raise CheckpointError(
            f"the checkpoint's shapes do not fit: {engine.listed(misfits)}; use its model settings,"
            " or allow these to start anew with --config.init_allow_mismatch"
        )
    new = sorted(ours.keys() - theirs.keys())
    if missing := refused(name for name in new if name.startswith("model/")):
        raise CheckpointError(
            f"{workdir}: checkpoint {step} lacks {engine.listed(missing)}; use its model settings,"
            " or allow these to start anew with --config.init_allow_mismatch"
        )
    taken = sorted(ours.keys() & theirs.keys() - set(differ))
    others = {
        "start anew": new,
        "not used here": sorted(theirs.keys() - ours.keys()),
        "of another shape, start anew": differ,
    }
    lines = [f"from {workdir}: {len(taken)} arrays taken over"]
    lines += [f"  other labels, so the head starts anew: {head}" for head in relabelled.values()]
    lines += [f"  {what}: {', '.join(names)}" for what, names in others.items() if names]
    return state.filled({name: theirs[name] for name in taken}), taken, lines
