"""PyTorch's names of the taggers' arrays, after Won et al. (2020), and ours."""

import itertools
from collections.abc import Callable, Mapping

from atbert_jax.models.taggers.crnn import LAYERS as CRNN_LAYERS
from atbert_jax.models.taggers.crnn import RECURRENT_LAYERS
from atbert_jax.models.taggers.fcn import LAYERS as FCN_LAYERS
from atbert_jax.models.taggers.harmonic_cnn import HARMONICS
from atbert_jax.models.taggers.harmonic_cnn import LAYERS as HARMONIC_LAYERS
from atbert_jax.models.taggers.music_transformer import LAYERS as TRANSFORMER_LAYERS
from atbert_jax.models.taggers.music_transformer import POOLS as TRANSFORMER_POOLS
from atbert_jax.models.taggers.musicnn import MIDDLE_LAYERS, TEMPORAL_FRAMES, TIMBRAL_SHARES
from atbert_jax.models.taggers.sample_cnn import CHANNELS as SAMPLE_CHANNELS
from atbert_jax.models.taggers.self_attention import BLOCKS as ATTENTION_BLOCKS
from atbert_jax.models.taggers.self_attention import LAYERS as ATTENTION_LAYERS
from atbert_jax.models.taggers.short_chunk import CHANNELS as SHORT_CHANNELS
from atbert_jax.weights.engine import Rule, batch_norm, convolution, layer_norm, linear

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


def layers(block: Callable[[str, str], list[Rule]], count: int) -> list[Rule]:
    """The same block `layer1`, `layer2` and so on."""
    return [
        rule
        for number in range(count)
        for rule in block(f"layer{number + 1}", f"{NETWORK}/layers/{number}")
    ]


def residual_block(
    theirs: str, ours: str, *, shortcut: bool = True, dimensions: int = 2
) -> list[Rule]:
    """Two convolutions with their normalisations, and where it has one that of the shortcut."""
    rules = []
    for number, part in enumerate(["first", "second", "shortcut"][: 3 if shortcut else 2], start=1):
        conv = f"{theirs}.conv_{number}"
        rules += convolution(conv, f"{ours}/{part}/conv", dimensions)
        rules += [Rule(f"{conv}.bias", f"{ours}/{part}/conv/bias")]
        rules += batch_norm(f"{theirs}.bn_{number}", f"{ours}/{part}/norm")
    return rules


def dense() -> list[Rule]:
    """The linear layer before the output, its normalisation, and the output."""
    return [
        *linear("dense1", f"{NETWORK}/dense/linear"),
        *batch_norm("bn", f"{NETWORK}/dense/norm"),
        *linear("dense2", OUTPUT),
    ]


def fcn() -> list[Rule]:
    """FCN."""
    blocks = layers(convolution_block, len(FCN_LAYERS))
    return [*mel_frontend(), *blocks, *linear("dense", OUTPUT)]


def crnn() -> list[Rule]:
    """CRNN."""
    rules = layers(convolution_block, len(CRNN_LAYERS))
    for number in range(RECURRENT_LAYERS):
        for theirs, ours in (("ih", "of_input"), ("hh", "of_state")):
            place = f"{NETWORK}/recurrent/{number}/{ours}"
            rules += [
                Rule(f"layer5.weight_{theirs}_l{number}", f"{place}/kernel", (1, 0)),
                Rule(f"layer5.bias_{theirs}_l{number}", f"{place}/bias"),
            ]
    return [*mel_frontend(), *rules, *linear("dense", OUTPUT)]


def musicnn() -> list[Rule]:
    """MusiCNN, narrow or wide; bands under a filter are channels here."""
    rules, timbral = mel_frontend(), len(TIMBRAL_SHARES)
    for n in range(timbral):
        theirs, ours = f"layers.{n}", f"{NETWORK}/timbral/{n}"
        rules += [
            Rule(f"{theirs}.conv.weight", f"{ours}/conv/kernel", (1, 3, 2, 0)),
            Rule(f"{theirs}.conv.bias", f"{ours}/conv/bias"),
            *batch_norm(f"{theirs}.bn", f"{ours}/norm"),
        ]
    for n in range(len(TEMPORAL_FRAMES)):
        rules += convolution_block(f"layers.{timbral + n}", f"{NETWORK}/temporal/{n}", 1)
    for n in range(MIDDLE_LAYERS):
        rules += convolution_block(f"layer{n + 1}", f"{NETWORK}/middle/{n}", 1)
    return [*rules, *dense()]


def sample_cnn() -> list[Rule]:
    """Sample-level CNN."""

    def block(theirs: str, ours: str) -> list[Rule]:
        return convolution_block(theirs, ours, dimensions=1)

    return [*layers(block, len(SAMPLE_CHANNELS)), *linear("dense", OUTPUT)]


def se_cnn() -> list[Rule]:
    """Sample-level CNN with squeeze-excitation."""
    rules = []
    for number, (before, after) in enumerate(itertools.pairwise((1, *SAMPLE_CHANNELS))):
        theirs, ours = f"layer{number + 1}", f"{NETWORK}/layers/{number}"
        rules += residual_block(theirs, ours, shortcut=before != after, dimensions=1)
        rules += linear(f"{theirs}.dense1", f"{ours}/squeeze")
        rules += linear(f"{theirs}.dense2", f"{ours}/excite")
    return [*rules, *dense()]


def short_chunk() -> list[Rule]:
    """Short-chunk CNN."""
    return [*mel_frontend(), *layers(convolution_block, len(SHORT_CHANNELS)), *dense()]


def short_chunk_res() -> list[Rule]:
    """Short-chunk ResNet."""
    return [*mel_frontend(), *layers(residual_block, len(SHORT_CHANNELS)), *dense()]


def harmonic_cnn() -> list[Rule]:
    """Harmonic CNN."""
    rules, channels = [], HARMONICS
    for number, (width, _) in enumerate(HARMONIC_LAYERS):
        names = f"layer{number + 1}", f"{NETWORK}/layers/{number}"
        same = width == channels
        rules += residual_block(*names, shortcut=False) if same else convolution_block(*names)
        channels = width
    return [
        Rule("hstft.bw_Q", f"{NETWORK}/frontend/sharpness"),
        *batch_norm("hstft_bn", f"{NETWORK}/frontend/norm"),
        *rules,
        *dense(),
    ]


def self_attention() -> list[Rule]:
    """CNN with self-attention; its first token is a constant in neither."""
    rules = []
    for number in range(len(ATTENTION_BLOCKS)):
        rules += residual_block(f"layer{number + 1}", f"{NETWORK}/blocks/{number}")
    for number in range(ATTENTION_LAYERS):
        theirs, ours = f"encoder.layer.{number}", f"{NETWORK}/layers/{number}"
        for name in ("query", "key", "value"):
            rules += linear(f"{theirs}.attention.self.{name}", f"{ours}/{name}")
        rules += linear(f"{theirs}.attention.output.dense", f"{ours}/attention_output")
        rules += layer_norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/attention_norm")
        rules += linear(f"{theirs}.intermediate.dense", f"{ours}/ffn")
        rules += linear(f"{theirs}.output.dense", f"{ours}/ffn_output")
        rules += layer_norm(f"{theirs}.output.LayerNorm", f"{ours}/output_norm")
    head = [*linear("pooler.dense", f"{NETWORK}/pooler"), *linear("dense", OUTPUT)]
    return [*mel_frontend(), *rules, *head]


def music_transformer() -> list[Rule]:
    """Music Tagging Transformer."""
    rules = [
        Rule("spec.mel_scale.fb", f"{NETWORK}/frontend/mel_matrix"),
        *batch_norm("frontend.input_bn", f"{NETWORK}/frontend/norm"),
        *linear("frontend.fc", f"{NETWORK}/projection"),
        Rule("cls_token", f"{NETWORK}/first_token"),
        Rule("pos_embedding", f"{NETWORK}/positions"),
    ]
    for number in range(len(TRANSFORMER_POOLS)):
        names = f"frontend.layer{number + 1}", f"{NETWORK}/blocks/{number}"
        rules += residual_block(*names, shortcut=number == 0)
    for number in range(TRANSFORMER_LAYERS):
        attention, ffn = (f"transformer.layers.{number}.{part}.fn" for part in (0, 1))
        ours = f"{NETWORK}/layers/{number}"
        rules += layer_norm(f"{attention}.norm", f"{ours}/attention_norm")
        rules += [
            Rule(f"{attention}.fn.to_qkv.weight", f"{ours}/query_key_value/kernel", (1, 0)),
            *linear(f"{attention}.fn.to_out.0", f"{ours}/attention_output"),
        ]
        rules += layer_norm(f"{ffn}.norm", f"{ours}/ffn_norm")
        rules += linear(f"{ffn}.fn.net.0", f"{ours}/ffn")
        rules += linear(f"{ffn}.fn.net.3", f"{ours}/ffn_output")
    return [*rules, *layer_norm("mlp_head.0", f"{NETWORK}/norm"), *linear("mlp_head.1", OUTPUT)]


# Of each network; with all of the state dict but counts of steps, the window, and a teacher.
RULES: Mapping[str, Callable[[], list[Rule]]] = {
    "fcn": fcn,
    "crnn": crnn,
    "musicnn": musicnn,
    "sample_cnn": sample_cnn,
    "se_cnn": se_cnn,
    "short_chunk": short_chunk,
    "short_chunk_res": short_chunk_res,
    "harmonic_cnn": harmonic_cnn,
    "self_attention": self_attention,
    "music_transformer": music_transformer,
}
# What a state dict holds beside the network, with the reason to leave it.
UNUSED = {
    r"\.num_batches_tracked$": "a count of steps",
    r"\.window$": "a Hann window, which is made anew",
    r"^teacher_network\.": "the teacher of this student",
}
# Before each name in checkpoints of the Music Tagging Transformer.
PREFIX = "network."
