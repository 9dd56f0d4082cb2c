"""What is trained and what stays as it is, by `config.optimizer.frozen`.

What is frozen is no input of the gradient, so no backward pass is computed for it, and it is not
among what the optimizer knows: no moments, no weight decay, no part in clipping or in the
gradient's norm.
"""

import difflib
import re
from collections.abc import Sequence

import jax
from flax import traverse_util

TRUNK = "model"


def partition(params: dict, frozen: Sequence[str]) -> tuple[dict, dict]:
    """Nested dicts as what is trained and what is frozen; `combine` puts them together again.

    Args:
        params: Of anything, by module name; arrays are named as `model/audio_cnn/stem/conv/kernel`.
        frozen: Regular expressions, searched for in the names.

    Raises:
        ValueError: if an expression is none or finds nothing, or if nothing is left to train.
    """
    flat = traverse_util.flatten_dict(params)
    names = {path: "/".join(map(str, path)) for path in flat}
    found: set[tuple] = set()
    for expression in frozen:
        matched = {path for path, name in names.items() if _compiled(expression).search(name)}
        if not matched:
            raise ValueError(
                f"config.optimizer.frozen: {expression!r} is found in no parameter's name; near it"
                f" are {', '.join(_near(expression, names.values())) or 'none'}; see all names with"
                " --describe"
            )
        found |= matched
    if len(found) == len(flat):
        raise ValueError(
            f"config.optimizer.frozen={tuple(frozen)} leaves nothing to train; take one out"
        )
    trained = {path: value for path, value in flat.items() if path not in found}
    kept = {path: value for path, value in flat.items() if path in found}
    return traverse_util.unflatten_dict(trained), traverse_util.unflatten_dict(kept)


def combine(trained: dict, frozen: dict) -> dict:
    """The nested dicts that `partition` took apart."""
    return traverse_util.unflatten_dict(
        traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
    )


def sizes(params: dict, frozen: Sequence[str]) -> tuple[int, int]:
    """Numbers of parameters that are trained and that are frozen."""
    trained, kept = partition(params, frozen)
    return sum(x.size for x in jax.tree.leaves(trained)), sum(x.size for x in jax.tree.leaves(kept))


def _compiled(expression: str) -> re.Pattern:
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(
            f"config.optimizer.frozen: {expression!r} is no regular expression ({error})"
        ) from error


def _near(expression: str, names: Sequence[str]) -> list[str]:
    """Names, and beginnings of names, that look like an expression."""
    parts = [name.split("/") for name in names]
    beginnings = {"/".join(p[:length]) for p in parts for length in range(1, len(p) + 1)}
    return difflib.get_close_matches(expression.strip("^$/"), sorted(beginnings), cutoff=0.5)
