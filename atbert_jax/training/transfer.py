"""Starting from a pre-trained checkpoint: what is taken over, what is new, what does not fit."""

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from flax import traverse_util

from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.training import freezing
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints, load_preprocessing
from atbert_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Names of arrays, as `model/encoders/shared/layers/0/query/kernel`.

    Attributes:
        taken: Arrays that came from the checkpoint.
        new: Arrays of this model that the checkpoint does not have.
        left: Arrays of the checkpoint that this model does not have.
        mismatched: Arrays whose shapes differ, with both shapes; they stay new.
        relabelled: Heads whose labels differ, and how; all of their arrays are new.
    """

    taken: tuple[str, ...]
    new: tuple[str, ...]
    left: tuple[str, ...]
    mismatched: tuple[str, ...]
    relabelled: tuple[str, ...] = ()

    def lines(self, origin: str) -> list[str]:
        """To print: what was taken over from `origin`, and what was not."""
        parts = {
            "start anew": self.new,
            "not used here": self.left,
            "of another shape, start anew": self.mismatched,
        }
        return [
            f"from {origin}: {len(self.taken)} arrays taken over",
            *(f"  other labels, so the head starts anew: {head}" for head in self.relabelled),
            *(f"  {what}: {', '.join(names)}" for what, names in parts.items() if names),
        ]


def _flat(tree: dict) -> dict[str, jax.Array]:
    flat = traverse_util.flatten_dict(tree)
    return {"/".join(map(str, path)): value for path, value in flat.items()}


def _transfer(target: dict, source: dict, allowed: Sequence[str]) -> tuple[dict, Transfer]:
    """Source arrays into a target of nested dicts, by name."""
    ours, theirs = _flat(target), _flat(source)
    differ = {n for n in ours if n in theirs and ours[n].shape != theirs[n].shape}
    refused = sorted(n for n in differ if not any(re.search(rule, n) for rule in allowed))
    if refused:
        lines = ", ".join(f"{n} {theirs[n].shape} -> {ours[n].shape}" for n in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise CheckpointError(
            f"the checkpoint's shapes do not fit: {lines}{more}; use its model settings, or allow"
            " these to start anew with --config.init_allow_mismatch"
        )
    taken = {n for n in ours if n in theirs and n not in differ}
    paths = {"/".join(map(str, path)): path for path in traverse_util.flatten_dict(target)}
    merged = {paths[n]: theirs[n] if n in taken else ours[n] for n in ours}
    return traverse_util.unflatten_dict(merged), Transfer(
        taken=tuple(sorted(taken)),
        new=tuple(sorted(ours.keys() - theirs.keys())),
        left=tuple(sorted(theirs.keys() - ours.keys())),
        mismatched=tuple(sorted(differ)),
    )


def require_learned(params: dict, frozen: Sequence[str], taken: Sequence[str]) -> None:
    """Refuses to freeze what comes from no checkpoint.

    Args:
        params: Of a new state.
        frozen: `config.optimizer.frozen`.
        taken: Names of arrays that came from a checkpoint.

    Raises:
        ValueError: naming arrays that would stay random.
    """
    random = sorted(_flat(freezing.partition(params, frozen)[1]).keys() - set(taken))
    if random:
        more = f" and {len(random) - 3} more" if len(random) > 3 else ""
        raise ValueError(
            f"config.optimizer.frozen would keep {', '.join(random[:3])}{more} random; set"
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


def start_from(
    state: TrainState,
    workdir: Path,
    allowed: Sequence[str] = (),
    contract: Contract | None = None,
) -> tuple[TrainState, Transfer]:
    """A new state with the arrays of the best checkpoint of another run.

    The trunk must be there whole; heads of objectives that the run did not have start anew, and so
    do those whose labels are others.

    Args:
        state: A new state.
        workdir: Folder of the other run.
        allowed: Regular expressions on names of arrays that may be missing or of another shape.
        contract: Of the new state; None if its labels are those of the other run.

    Returns:
        The state, and the names of what was and was not taken over.

    Raises:
        CheckpointError: if there is no checkpoint, or an array of the trunk is missing or of
            another shape and not allowed to be.
    """
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        step, arrays = checkpoints.best_whole(checkpoints.restore_arrays)
    relabelled = _relabelled(load_preprocessing(workdir)[0], contract) if contract else {}
    for tree in (arrays["params"], arrays["statistics"]):
        for name in relabelled:
            tree.get("objectives", {}).pop(name, None)
    params, transfer = _transfer(state.params, arrays["params"], allowed)
    statistics, more = _transfer(state.statistics, arrays["statistics"], allowed)
    both = Transfer(
        **{
            field.name: getattr(transfer, field.name) + getattr(more, field.name)
            for field in dataclasses.fields(Transfer)
        }
    )
    both = dataclasses.replace(both, relabelled=tuple(relabelled.values()))
    missing = [
        name
        for name in both.new
        if name.startswith("model/") and not any(re.search(rule, name) for rule in allowed)
    ]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise CheckpointError(
            f"{workdir}: checkpoint {step} lacks {', '.join(missing[:5])}{more}; use its model"
            " settings, or allow these to start anew with --config.init_allow_mismatch"
        )
    params = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), params, state.params)
    statistics = jax.tree.map(
        lambda new, old: jax.device_put(new, old.sharding), statistics, state.statistics
    )
    return state.replace(params=params, statistics=statistics), both
