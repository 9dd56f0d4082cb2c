"""PyTorch's names of the taggers' arrays, after Won et al. (2020), and ours."""

from collections.abc import Callable, Mapping

from atbert_jax.conversion.engine import Rule, batch_norm, convolution, linear
from atbert_jax.models.taggers.fcn import LAYERS as FCN_LAYERS

NETWORK, OUTPUT = "model/network", "objectives/classification/output"


def mel_frontend() -> list[Rule]:
    """The stored filter bank, and the normalisation of the whole picture."""
    return [
        Rule("spec.mel_scale.fb", f"{NETWORK}/frontend/mel_matrix"),
        *batch_norm("spec_bn", f"{NETWORK}/frontend/norm"),
    ]


def convolution_block(theirs: str, ours: str, dimensions: int = 2) -> list[Rule]:
    """A convolution with bias over one or two dimensions, and its normalisation."""
    return [
        *convolution(f"{theirs}.conv", f"{ours}/conv", dimensions),
        Rule(f"{theirs}.conv.bias", f"{ours}/conv/bias"),
        *batch_norm(f"{theirs}.bn", f"{ours}/norm"),
    ]


def fcn() -> list[Rule]:
    """FCN."""
    layers = [
        rule
        for number in range(len(FCN_LAYERS))
        for rule in convolution_block(f"layer{number + 1}", f"{NETWORK}/layers/{number}")
    ]
    return [*mel_frontend(), *layers, *linear("dense", OUTPUT)]


# Of each network; with all of the state dict but counts of steps and the window.
RULES: Mapping[str, Callable[[], list[Rule]]] = {"fcn": fcn}
