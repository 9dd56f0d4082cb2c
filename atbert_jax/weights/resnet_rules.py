"""ResNets of bottlenecks (He et al. 2015), of torchvision's or Hugging Face's names.

The audio CNN differs from them in its stem alone: 9x9 over one channel with stride 1, and no
pooling. A stem for pictures can be adapted: `adapt_stem`.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from atbert_jax.models.keys import Keys
from atbert_jax.models.resnet import STEM_KERNEL, ResNet
from atbert_jax.weights import engine
from atbert_jax.weights.engine import Arrays, Conversion, Rule, batch_norm, convolution
from atbert_jax.weights.files import Source

FAMILY = "resnet"
TRUNK = "model/audio_cnn"
# What the model's config must have equal.
SIZES = ("depths", "width")


@dataclasses.dataclass(frozen=True)
class Layout:
    """PyTorch's names of convolutions with their normalisations.

    Attributes:
        stem: Of the stem.
        block: Prefix of a block, by its `stage` (or `number`, from 1) and `position`.
        parts: Of the parts of a block, by our names of them.
    """

    stem: tuple[str, str]
    block: str
    parts: Mapping[str, tuple[str, str]]

    def prefix(self, stage: int, position: int) -> str:
        """What the names of a block start with; both count from 0."""
        return self.block.format(stage=stage, number=stage + 1, position=position)


TORCHVISION = Layout(
    stem=("conv1", "bn1"),
    block="layer{number}.{position}.",
    parts={
        "reduce": ("conv1", "bn1"),
        "conv": ("conv2", "bn2"),
        "expand": ("conv3", "bn3"),
        "shortcut": ("downsample.0", "downsample.1"),
    },
)
HUGGING_FACE = Layout(
    stem=("embedder.embedder.convolution", "embedder.embedder.normalization"),
    block="encoder.stages.{stage}.layers.{position}.",
    parts={
        "reduce": ("layer.0.convolution", "layer.0.normalization"),
        "conv": ("layer.1.convolution", "layer.1.normalization"),
        "expand": ("layer.2.convolution", "layer.2.normalization"),
        "shortcut": ("shortcut.convolution", "shortcut.normalization"),
    },
)
UNUSED = {
    r"\.num_batches_tracked$": "a count of steps",
    r"^(fc|classifier\.1)\.": "the head for pictures",
}


def rules(layout: Layout, depths: Sequence[int]) -> list[Rule]:
    """The rules of all blocks, behind those of the stem.

    Args:
        layout: PyTorch's names.
        depths: Number of blocks of each stage.
    """
    found = _stem_rules(layout)
    blocks = [(stage, place) for stage, depth in enumerate(depths) for place in range(depth)]
    for number, (stage, place) in enumerate(blocks):
        for part, (conv, norm) in layout.parts.items():
            if part == "shortcut" and place:
                continue
            prefix, ours = layout.prefix(stage, place), f"{TRUNK}/blocks/{number}/{part}"
            found += convolution(prefix + conv, f"{ours}/conv")
            found += batch_norm(prefix + norm, f"{ours}/norm")
    return found


def _stem_rules(layout: Layout) -> list[Rule]:
    conv, norm = layout.stem
    return [
        *convolution(conv, f"{TRUNK}/stem/conv"),
        *batch_norm(norm, f"{TRUNK}/stem/norm"),
    ]


def adapt_stem(kernel: np.ndarray) -> np.ndarray:
    """A stem for pictures as one for spectrograms.

    The sum over the channels answers to a spectrogram as the original does to a grey picture; zeros
    around it make it as large as the stem here. With 9x9 and one channel nothing changes.

    Args:
        kernel: (D, C, K, K) with odd K up to 9, as PyTorch has it.

    Returns:
        (D, 1, 9, 9).

    Raises:
        ValueError: if the kernel is larger, or even.
    """
    size = kernel.shape[-1]
    if size > STEM_KERNEL or size % 2 == 0:
        raise ValueError(
            f"a stem of {size}x{size} cannot be adapted to {STEM_KERNEL}x{STEM_KERNEL}; leave it"
            " out with --stem=random"
        )
    border = (STEM_KERNEL - size) // 2
    summed = kernel.astype(np.float32).sum(axis=1, keepdims=True)
    return np.pad(summed, [(0, 0), (0, 0), (border, border), (border, border)])


def from_pytorch(source: Source, name: str, stem: str = "adapt") -> Conversion:
    """A ResNet's arrays by our names.

    Args:
        source: In either layout.
        name: What to call the source.
        stem: 'adapt' the stem, or leave it out ('random') so that it starts new.

    Raises:
        ValueError: if it is no ResNet of bottlenecks, or one of other strides or widths.
    """
    where, arrays = str(source.path), engine.without_prefix(source.arrays, "resnet.")
    layout = next(
        (each for each in (TORCHVISION, HUGGING_FACE) if f"{each.stem[0]}.weight" in arrays), None
    )
    if layout is None or layout.prefix(0, 0) + layout.parts["expand"][0] + ".weight" not in arrays:
        raise ValueError(
            f"{where}: no ResNet of bottlenecks (50 layers or more) in the names of torchvision or"
            f" Hugging Face; it has {engine.listed(sorted(arrays))}"
        )
    for field in ("downsample_in_bottleneck", "downsample_in_first_stage"):
        if source.config.get(field):
            raise ValueError(
                f"{source.path.parent}/config.json: {field} is set, but here stages 2 to 4 alone"
                " halve their input, in the 3x3 convolutions; use a ResNet of that kind"
            )
    depths = _depths(layout, arrays)
    chosen, reasons, missing = rules(layout, depths), dict(UNUSED), {}
    if stem == "adapt":
        kernel = f"{layout.stem[0]}.weight"
        arrays[kernel] = adapt_stem(arrays[kernel])
    else:
        why = "starts new, by --stem=random"
        left = _stem_rules(layout)
        chosen = chosen[len(left) :]
        reasons |= {f"^{re.escape(rule.theirs)}$": why for rule in left}
        missing = {rule.ours: why for rule in left}
    converted, taken, unused = engine.to_ours(where, chosen, arrays, reasons)
    width = converted[f"{TRUNK}/blocks/0/reduce/conv/kernel"].shape[-1]
    _require_shapes(where, converted, depths, width)
    about = {
        "family": FAMILY,
        "source": name,
        "depths": depths,
        "width": width,
        "stem": stem,
    }
    return Conversion(converted, about, taken, unused, missing)


def _depths(layout: Layout, arrays: Arrays) -> list[int]:
    """The number of blocks of each stage, by the names."""
    depths: list[int] = []
    while blocks := _blocks(layout, arrays, len(depths)):
        depths.append(blocks)
    return depths


def _blocks(layout: Layout, arrays: Arrays, stage: int) -> int:
    count = 0
    while any(name.startswith(layout.prefix(stage, count)) for name in arrays):
        count += 1
    return count


def _require_shapes(where: str, arrays: Arrays, depths: Sequence[int], width: int) -> None:
    """Checks the arrays against the model itself."""
    net = nnx.eval_shape(lambda: ResNet(depths, width, dtype=jnp.float32, rngs=Keys(0)))
    state = engine.flat(nnx.to_pure_dict(nnx.state(net)))
    expected = {f"{TRUNK}/{name}": x.shape for name, x in state.items()}
    wrong = [
        f"{name} {array.shape} instead of {expected.get(name)}"
        for name, array in arrays.items()
        if array.shape != expected.get(name)
    ]
    if wrong:
        raise ValueError(
            f"{where} is no plain ResNet of depths {tuple(depths)} and width {width}:"
            f" {engine.listed(wrong)}"
        )


def to_pytorch(model: engine.Model) -> Conversion:
    """A trained model's audio CNN in torchvision's names, without a head.

    The stem stays as it is. `torchvision.models.resnet50()` computes the same with `conv1` a
    `Conv2d(1, 64, 9, padding=4, bias=False)`, and `maxpool` and `fc` an `Identity()`.

    Args:
        model: From the folder of a run.

    Raises:
        ValueError: if the model has no such part.
    """
    depths, width = list(model.config.model.depths), model.config.model.width
    arrays = jax.device_get(engine.flat(model.params, model.statistics))
    target, taken, unused = engine.to_theirs(
        str(model.workdir), rules(TORCHVISION, depths), arrays, "no part of a ResNet"
    )
    about = {"names": "torchvision", "depths": depths, "width": width, "stem": "9x9, 1 channel"}
    return Conversion(target, about, taken, unused, {})
