"""PyTorch's names of the taggers' arrays, after Won et al. (2020), and ours."""

from collections.abc import Callable, Mapping

from atbert_jax.conversion.engine import Rule, batch_norm, convolution, linear
from atbert_jax.models.taggers import crnn as crnn_network
from atbert_jax.models.taggers import fcn as fcn_network
from atbert_jax.models.taggers import musicnn as musicnn_network

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


def convolution_layers(count: int) -> list[Rule]:
    """`layer1`, `layer2`, ... over two dimensions."""
    return [
        rule
        for number in range(count)
        for rule in convolution_block(f"layer{number + 1}", f"{NETWORK}/layers/{number}")
    ]


def fcn() -> list[Rule]:
    """FCN."""
    layers = convolution_layers(len(fcn_network.LAYERS))
    return [*mel_frontend(), *layers, *linear("dense", OUTPUT)]


def crnn() -> list[Rule]:
    """CRNN."""
    layers = convolution_layers(len(crnn_network.LAYERS))
    for number in range(crnn_network.RECURRENT_LAYERS):
        for theirs, ours in (("ih", "of_input"), ("hh", "of_state")):
            place = f"{NETWORK}/recurrent/{number}/{ours}"
            layers += [
                Rule(f"layer5.weight_{theirs}_l{number}", f"{place}/kernel", (1, 0)),
                Rule(f"layer5.bias_{theirs}_l{number}", f"{place}/bias"),
            ]
    return [*mel_frontend(), *layers, *linear("dense", OUTPUT)]


def musicnn() -> list[Rule]:
    """MusiCNN, narrow or wide; bands under a filter are channels here."""
    rules, timbral = mel_frontend(), len(musicnn_network.TIMBRAL_SHARES)
    for n in range(timbral):
        theirs, ours = f"layers.{n}", f"{NETWORK}/timbral/{n}"
        rules += [
            Rule(f"{theirs}.conv.weight", f"{ours}/conv/kernel", (1, 3, 2, 0)),
            Rule(f"{theirs}.conv.bias", f"{ours}/conv/bias"),
            *batch_norm(f"{theirs}.bn", f"{ours}/norm"),
        ]
    for n in range(len(musicnn_network.TEMPORAL_FRAMES)):
        rules += convolution_block(f"layers.{timbral + n}", f"{NETWORK}/temporal/{n}", 1)
    for n in range(musicnn_network.MIDDLE_LAYERS):
        rules += convolution_block(f"layer{n + 1}", f"{NETWORK}/middle/{n}", 1)
    return [
        *rules,
        *linear("dense1", f"{NETWORK}/dense/linear"),
        *batch_norm("bn", f"{NETWORK}/dense/norm"),
        *linear("dense2", OUTPUT),
    ]


# Of each network; with all of the state dict but counts of steps and the window.
RULES: Mapping[str, Callable[[], list[Rule]]] = {"crnn": crnn, "fcn": fcn, "musicnn": musicnn}
