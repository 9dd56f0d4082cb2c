"""TensorFlow's names of the arrays of the musicnn library's networks, and ours."""

from collections.abc import Callable, Mapping

from atbert_jax.models.taggers.musicnn import MIDDLE_LAYERS
from atbert_jax.models.taggers.pons import OVERLAPPING, TEMPORAL_FRAMES, TIMBRAL_SHARES
from atbert_jax.weights.engine import Rule
from atbert_jax.weights.tagger_rules import NETWORK, OUTPUT

FAMILY = "pons"
# What a checkpoint holds beside the network, with the reason to leave it.
UNUSED = {
    r"/Adam(_1)?$": "the optimizer's moments",
    r"^beta[12]_power$": "the optimizer's step",
}


def counted(name: str, number: int) -> str:
    """TensorFlow's name of the layer of a kind with this number; the first one has none."""
    return f"{name}_{number}" if number else name


def norm(number: int, ours: str) -> list[Rule]:
    """The batch normalisation with this number."""
    theirs = counted("batch_normalization", number)
    return [
        Rule(f"{theirs}/gamma", f"{ours}/scale"),
        Rule(f"{theirs}/beta", f"{ours}/bias"),
        Rule(f"{theirs}/moving_mean", f"{ours}/mean"),
        Rule(f"{theirs}/moving_variance", f"{ours}/var"),
    ]


def kernel(theirs: str, ours: str, axes: tuple[int, ...]) -> list[Rule]:
    """A kernel with these axes, and its bias."""
    return [
        Rule(f"{theirs}/kernel", f"{ours}/kernel", axes),
        Rule(f"{theirs}/bias", f"{ours}/bias"),
    ]


def dense(number: int, ours: str) -> list[Rule]:
    """The dense layer with this number, (in, out) there and here."""
    return kernel(counted("dense", number), ours, (0, 1))


def musicnn() -> list[Rule]:
    """MusiCNN. Kernels are (time, bands, 1, out) there; bands under a filter are channels here."""
    timbral, temporal = len(TIMBRAL_SHARES), len(TEMPORAL_FRAMES)
    # Our axes are (1, time, bands, out), or (bands, time, 1, out) where there is one band.
    places = [(f"timbral/{n}", (2, 0, 1, 3)) for n in range(timbral)]
    places += [(f"temporal/{n}", (1, 0, 2, 3)) for n in range(temporal)]
    places += [(f"middle/{n}", (2, 0, 1, 3)) for n in range(MIDDLE_LAYERS)]
    rules = norm(0, f"{NETWORK}/frontend/norm")
    for number, (place, axes) in enumerate(places):
        rules += kernel(counted("conv2d", number), f"{NETWORK}/{place}/conv", axes)
        rules += norm(number + 1, f"{NETWORK}/{place}/norm")
    return [
        *rules,
        *norm(len(places) + 1, f"{NETWORK}/pooled_norm"),
        *dense(0, f"{NETWORK}/dense"),
        *norm(len(places) + 2, f"{NETWORK}/dense_norm"),
        *dense(1, OUTPUT),
    ]


def vgg() -> list[Rule]:
    """VGG; pictures are (time, frequency) there, (frequency, time) here."""
    rules = norm(0, f"{NETWORK}/frontend/norm")
    for number in range(len(OVERLAPPING)):
        ours = f"{NETWORK}/layers/{number}"
        rules += kernel(f"{number + 1}CNN", f"{ours}/conv", (1, 0, 2, 3))
        rules += norm(number + 1, f"{ours}/norm")
    return [*rules, *dense(0, OUTPUT)]


# Of each network, as the config calls it.
RULES: Mapping[str, Callable[[], list[Rule]]] = {"pons_musicnn": musicnn, "pons_vgg": vgg}
# An array that only this one has.
MARKS = {"pons_musicnn": "conv2d/kernel", "pons_vgg": "1CNN/kernel"}
# Whose width tells whether a MusiCNN is wide.
DENSE = "dense/kernel"
