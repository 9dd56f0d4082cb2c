"""Whether a folder was made with the same config."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from flax import traverse_util


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
    return "; ".join(
        f"{name}: {old.get(name)!r} -> {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
        and not any(name == each or name.startswith(f"{each}.") for each in free)
    )
