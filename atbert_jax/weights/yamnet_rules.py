"""YAMNet's arrays in TensorFlow Lite's file of it, and ours."""

from atbert_jax.models.taggers.yamnet import LAYERS
from atbert_jax.weights.engine import Rule
from atbert_jax.weights.tagger_rules import NETWORK, OUTPUT

FAMILY = "yamnet"
WINDOW, FLOOR = "mul_0.input_1", "fully_connected_0.bias"
# What needs no rule, each with the reason.
UNUSED = {
    r"^(reshape|gather|pad|rfft2d|mean)_\d+\.": "shapes and places",
    rf"^{WINDOW}$": "a Hann window, made anew",
    rf"^{FLOOR}$": "the floor of the logarithm, a setting here",
}


def rules() -> list[Rule]:
    """Of every array; pictures are (time, frequency) there, (frequency, time) here."""
    found = [
        Rule("fully_connected_0.weight", f"{NETWORK}/frontend/mel_matrix", (1, 0)),
        Rule("conv_2d_0.weight", f"{NETWORK}/first/kernel", (2, 1, 3, 0)),
        Rule("conv_2d_0.bias", f"{NETWORK}/first/bias"),
    ]
    for number in range(len(LAYERS)):
        ours = f"{NETWORK}/layers/{number}"
        depthwise, pointwise = f"depthwise_conv_2d_{number}", f"conv_2d_{number + 1}"
        found += [
            Rule(f"{depthwise}.weight", f"{ours}/depthwise/kernel", (2, 1, 0, 3)),
            Rule(f"{depthwise}.bias", f"{ours}/depthwise/bias"),
            Rule(f"{pointwise}.weight", f"{ours}/pointwise/kernel", (1, 0)),
            Rule(f"{pointwise}.bias", f"{ours}/pointwise/bias"),
        ]
    return [
        *found,
        Rule("fully_connected_1.weight", f"{OUTPUT}/kernel", (1, 0)),
        Rule("fully_connected_1.bias", f"{OUTPUT}/bias"),
    ]
