"""Whether a folder was made with the same config, and a checkpoint of the same model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
from flax import traverse_util

# Fields that configs of earlier versions do not have, with what was done then.
EARLIER = {
    "model.stem": "full",
    "model.norm": "batch",
    "data.stratify": False,
    "data.copies": "keep",
    "probe.mfcc": True,
    "train.tracker": "",
    "tagger.apart": False,
    "caption_probe.normalized": True,
    "clap.fused": False,
    "clap.patch_width": 96,
    "clap.depths": [2, 2, 6, 2],
    "clap.heads": [4, 8, 16, 32],
    "clap.projection": 512,
}


def fields(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Every field by its dotted name, with its value as JSON has it."""
    return traverse_util.flatten_dict(json.loads(config.to_json_best_effort()), sep=".")


def changes(old: Mapping[str, Any], new: Mapping[str, Any], free: Sequence[str]) -> str:
    """The fields that differ, as `name: old -> new`; empty if there are none.

    Args:
        old: From `fields`.
        new: Likewise.
        free: Names that may differ, and all below them.
    """
    old = {name: value for name, value in EARLIER.items() if name in new} | dict(old)
    return "; ".join(
        f"{name}: {old.get(name)!r} -> {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
        and not any(name == each or name.startswith(f"{each}.") for each in free)
    )


def misfits(stored: dict[str, Any], targets: dict[str, Any]) -> list[str]:
    """Where the arrays of a checkpoint are not those that are wanted, one text each."""
    found = []
    # Parameters first, the rest follows from them.
    for name, target in sorted(targets.items(), key=lambda item: item[0] != "params"):
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
