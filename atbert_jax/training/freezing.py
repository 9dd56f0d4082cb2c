"""What stays as it is in training, by `config.optimizer.frozen`.

It is decided once, when a `Learner` is made. What is frozen is no input of the gradient, so no
backward pass is computed for it, and it is not among what the optimizer knows: no moments, no
weight decay, no part in clipping or in the gradient's norm.
"""

import difflib
import re
from collections.abc import Iterable, Sequence

from flax import traverse_util

TRUNK = "model"


def find(params: dict, expressions: Sequence[str]) -> frozenset[tuple]:
    """The paths of the parameters that are frozen.

    Args:
        params: Of anything, nested dicts by module name; arrays are named as
            `model/audio_cnn/stem/conv/kernel`.
        expressions: Regular expressions, searched for in the names.

    Raises:
        ValueError: if an expression is none or finds nothing, or if nothing is left to train.
    """
    names = {path: "/".join(map(str, path)) for path in traverse_util.flatten_dict(params)}
    found: set[tuple] = set()
    for expression in expressions:
        matched = {path for path, name in names.items() if _compiled(expression).search(name)}
        if not matched:
            raise ValueError(
                f"config.optimizer.frozen: {expression!r} is found in no parameter's name; near it"
                f" are {', '.join(_near(expression, names.values())) or 'none'}; see all names with"
                " --describe"
            )
        found |= matched
    if len(found) == len(names):
        raise ValueError(
            f"config.optimizer.frozen={tuple(expressions)} leaves nothing to train; take one out"
        )
    return frozenset(found)


def _compiled(expression: str) -> re.Pattern:
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(
            f"config.optimizer.frozen: {expression!r} is no regular expression ({error})"
        ) from error


def _near(expression: str, names: Iterable[str]) -> list[str]:
    """Names, and beginnings of names, that look like an expression."""
    parts = [name.split("/") for name in names]
    beginnings = {"/".join(p[:length]) for p in parts for length in range(1, len(p) + 1)}
    return difflib.get_close_matches(expression.strip("^$/"), sorted(beginnings), cutoff=0.5)
