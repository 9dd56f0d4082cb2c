"""Applies a family's rules: PyTorch's arrays to ours and back, with nothing left unsaid."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.reporting.tables import Table

Arrays = dict[str, np.ndarray]
# Names that one cell of the table shows before it only counts.
SHOWN = 4
# What weight decay has left of some weights is less than this. It changes no answer, but numbers
# below float32's normal ones take a CPU many times as long.
NOTHING = 1e-30


class Model(Protocol):
    """What is given away of a trained model (see `training.trained.Trained`)."""

    workdir: Path
    config: ml_collections.ConfigDict
    contract: Contract
    params: dict
    statistics: dict


@dataclasses.dataclass(frozen=True)
class Rule:
    """One array under its two names.

    Attributes:
        theirs: Name in PyTorch, as `encoder.embedding_hidden_mapping_in.weight`.
        ours: Name here, as `model/text_projection/kernel`.
        axes: Which axis of theirs each axis of ours is; empty where they are the same.
    """

    theirs: str
    ours: str
    axes: tuple[int, ...] = ()

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """Their array as ours, float32; numbers that are next to nothing become 0."""
        ours = np.asarray(array.transpose(self.axes) if self.axes else array, np.float32)
        return np.where(np.abs(ours) < NOTHING, np.float32(0), ours)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Our array as theirs."""
        return array.transpose(np.argsort(self.axes)) if self.axes else array


def linear(theirs: str, ours: str) -> list[Rule]:
    """A dense layer: (out, in) there, (in, out) here."""
    return [
        Rule(f"{theirs}.weight", f"{ours}/kernel", (1, 0)),
        Rule(f"{theirs}.bias", f"{ours}/bias"),
    ]


def layer_norm(theirs: str, ours: str) -> list[Rule]:
    """A layer normalisation."""
    return [Rule(f"{theirs}.weight", f"{ours}/scale"), Rule(f"{theirs}.bias", f"{ours}/bias")]


def convolution(theirs: str, ours: str, dimensions: int = 2) -> list[Rule]:
    """A convolution's kernel: (out, in, height, width) there, (height, width, in, out) here."""
    axes = (*range(2, 2 + dimensions), 1, 0)
    return [Rule(f"{theirs}.weight", f"{ours}/kernel", axes)]


def batch_norm(theirs: str, ours: str) -> list[Rule]:
    """A batch normalisation with its running statistics."""
    return [
        *layer_norm(theirs, ours),
        Rule(f"{theirs}.running_mean", f"{ours}/mean"),
        Rule(f"{theirs}.running_var", f"{ours}/var"),
    ]


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The outcome, with an account of every name.

    Attributes:
        arrays: By their new names.
        about: What `conversion.json` or PyTorch's `config.json` says of them.
        taken: (old name, its shape, new name, its shape) of each array.
        unused: Why names of the source have no use, by name.
        missing: Why arrays of the target have no source, by name.
    """

    arrays: Arrays
    about: dict[str, Any]
    taken: Sequence[tuple[str, tuple, str, tuple]]
    unused: Mapping[str, str]
    missing: Mapping[str, str]

    def table(self, title: str) -> Table:
        """Every name: what became of it, and why where it is nothing."""
        rows = [(old, _size(before), new, _size(after)) for old, before, new, after in self.taken]
        rows += [(names, "", f"unused: {why}", "") for why, names in _by_reason(self.unused)]
        rows += [(f"none: {why}", "", names, "") for why, names in _by_reason(self.missing)]
        return Table(title, ["source", "shape", "target", "shape"], rows)


def to_ours(
    where: str, rules: Sequence[Rule], source: Arrays, unused: Mapping[str, str]
) -> tuple[Arrays, list[tuple], dict[str, str]]:
    """Applies rules to PyTorch's arrays.

    Args:
        where: The source, for messages.
        rules: All of them must find their array.
        source: By PyTorch's names.
        unused: Reasons why names that match a regular expression have no use.

    Returns:
        The arrays by our names; `taken` and `unused` of a `Conversion`.

    Raises:
        ValueError: if an array is missing, has another number of axes than its rule, holds what is
            no finite float, or has neither a rule nor a reason to be left.
    """
    lacking = [rule.theirs for rule in rules if rule.theirs not in source]
    if lacking:
        raise ValueError(f"{where} lacks {listed(lacking)}; is the file whole, and of this family?")
    for rule in rules:
        if rule.axes and source[rule.theirs].ndim != len(rule.axes):
            raise ValueError(
                f"{where}: {rule.theirs} has shape {source[rule.theirs].shape}, but"
                f" {len(rule.axes)} axes are expected; the model is another one"
            )
    known = {rule.theirs for rule in rules}
    reasons = {name: _reason(name, unused) for name in source if name not in known}
    unknown = [name for name, why in reasons.items() if not why]
    if unknown:
        raise ValueError(
            f"{where}: there is no rule for {listed(unknown)}; the model has parts that this one"
            " does not have"
        )
    arrays = {rule.ours: rule.to_ours(source[rule.theirs]) for rule in rules}
    wrong = [
        rule.theirs
        for rule in rules
        if source[rule.theirs].dtype.kind in "biuSUO" or not np.isfinite(arrays[rule.ours]).all()
    ]
    if wrong:
        raise ValueError(
            f"{where}: {listed(wrong)} hold what is no finite float; get the file anew, as one that"
            " is not quantized"
        )
    taken = [
        (rule.theirs, source[rule.theirs].shape, rule.ours, arrays[rule.ours].shape)
        for rule in rules
    ]
    return arrays, taken, reasons


def to_theirs(
    where: str, rules: Sequence[Rule], arrays: Arrays, unused: str
) -> tuple[Arrays, list[tuple], dict[str, str]]:
    """Applies the same rules the other way.

    Args:
        where: The source, for messages.
        rules: All of them must find their array.
        arrays: By our names.
        unused: Why arrays without a rule have no use.

    Returns:
        The arrays by PyTorch's names; `taken` and `unused` of a `Conversion`.

    Raises:
        ValueError: if an array is missing.
    """
    lacking = [rule.ours for rule in rules if rule.ours not in arrays]
    if lacking:
        raise ValueError(f"{where} has no {listed(lacking)}; its model is of another family")
    target = {rule.theirs: rule.to_theirs(arrays[rule.ours]) for rule in rules}
    taken = [
        (rule.ours, arrays[rule.ours].shape, rule.theirs, target[rule.theirs].shape)
        for rule in rules
    ]
    known = {rule.ours for rule in rules}
    return target, taken, {name: unused for name in arrays if name not in known}


def without_prefix(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays under names without this prefix, where they have it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items()}


def flat(*trees: dict) -> dict[str, Any]:
    """The leaves of nested dicts by names as `model/text_projection/kernel`."""
    leaves = [leaf for tree in trees for leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return {name_of(path): leaf for path, leaf in leaves}


def name_of(path: tuple) -> str:
    """A leaf's name from its path in nested dicts."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    return next((why for pattern, why in reasons.items() if re.search(pattern, name)), "")


def _by_reason(names: Mapping[str, str]) -> list[tuple[str, str]]:
    grouped: dict[str, list[str]] = {}
    for name, why in names.items():
        grouped.setdefault(why, []).append(name)
    return [(why, listed(group)) for why, group in grouped.items()]


def _size(shape: tuple) -> str:
    return " x ".join(map(str, shape))
