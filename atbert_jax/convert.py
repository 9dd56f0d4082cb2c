"""Weights from PyTorch: `python -m atbert_jax.convert albert SOURCE FOLDER`, or `resnet`.

SOURCE is a folder of `save_pretrained` (`model.safetensors`, or `pytorch_model.bin` where PyTorch
is installed), one file of weights, or the name of a model on the Hugging Face hub, which is the
only case in which something is downloaded. FOLDER is new and gets `weights.safetensors` under our
names, `conversion.json` with the sizes, and the tokenizer if the source has one. A table says what
became of every array; one that is missing or that nothing is known of is an error.

* `albert` is any ALBERT of one layer group. The head of masked language modelling comes along.
* `resnet` is any ResNet of bottlenecks in the names of torchvision or Hugging Face, with its
  running statistics. `--stem=adapt` makes its stem for pictures one for spectrograms,
  `--stem=random` leaves it out.

Training starts from them with `--config.init.text=FOLDER` and `--config.init.audio=FOLDER`.

With `--to_pytorch` SOURCE is the folder of a training run, and FOLDER gets `model.safetensors` with
PyTorch's names and a `config.json`: an ALBERT that `AlbertModel.from_pretrained` loads, or a ResNet
for torchvision's model with a 9x9 stem (see `conversion.resnet.to_pytorch`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from atbert_jax import command

if TYPE_CHECKING:
    from rich.console import Console

STEM = flags.DEFINE_enum("stem", "adapt", ["adapt", "random"], "What becomes of a ResNet's stem.")
TO_PYTORCH = flags.DEFINE_bool("to_pytorch", False, "From a run's folder to PyTorch's names.")
STEP = flags.DEFINE_integer("step", None, "Which checkpoint of it; by default the best one.")

# Wide enough for the longest names side by side.
TABLE_WIDTH = 180


def main(arguments: list[str]) -> None:
    """Converts what the arguments say."""
    from rich.console import Console

    if len(arguments) != 3 or arguments[0] not in ("albert", "resnet"):
        raise ValueError(
            "give a family, a source and a new folder: atbert_jax.convert albert SOURCE FOLDER, or"
            " resnet SOURCE FOLDER"
        )
    family, source, folder = arguments
    console = Console(width=TABLE_WIDTH)
    if TO_PYTORCH.value:
        to_pytorch(family, Path(source), Path(folder), console, STEP.value)
    else:
        from_pytorch(family, source, Path(folder), console, STEM.value)


def from_pytorch(
    family: str, source: str, folder: Path, console: Console, stem: str = "adapt"
) -> None:
    """Writes PyTorch's weights into a folder that training can start from.

    Args:
        family: 'albert' or 'resnet'.
        source: See `conversion.files.read_pytorch`.
        folder: New.
        console: Where the table goes.
        stem: Of a ResNet: 'adapt' or 'random'.

    Raises:
        ValueError: if the source is not of this family, or the folder is there already.
        OSError: if there is no such source.
    """
    from atbert_jax.conversion import albert, files, resnet
    from atbert_jax.evaluation.tables import print_table

    files.require_new(folder)
    found = files.read_pytorch(source)
    if family == "albert":
        conversion = albert.from_pytorch(found, source)
    else:
        conversion = resnet.from_pytorch(found, source, stem)
    files.write(folder, conversion, found.tokenizer, pytorch=False)
    print_table(conversion.table(f"{family} from {found.path}"), console)
    field = "text" if family == "albert" else "audio"
    console.print(f"train with --config.init.{field}={folder}", highlight=False)
    if family == "albert" and found.tokenizer is None:
        console.print("the source has no tokenizer: give --config.text.tokenizer as well")


def to_pytorch(
    family: str, workdir: Path, folder: Path, console: Console, step: int | None = None
) -> None:
    """Writes a part of a trained model for PyTorch.

    Args:
        family: 'albert' or 'resnet'.
        workdir: The folder of a training run.
        folder: New.
        console: Where the table goes.
        step: Which checkpoint; None is the best one.

    Raises:
        ValueError: if the model has no such part, or the folder is there already.
    """
    from atbert_jax.conversion import albert, files, resnet
    from atbert_jax.evaluation.tables import print_table
    from atbert_jax.training import trained

    files.require_new(folder)
    model = trained.load(workdir, step)
    conversion = (albert if family == "albert" else resnet).to_pytorch(model)
    tokenizer = model.tokenizer if family == "albert" else None
    files.write(folder, conversion, tokenizer, pytorch=True)
    print_table(conversion.table(f"{family} from checkpoint {model.step} of {workdir}"), console)


if __name__ == "__main__":
    command.run(main, required=(), takes_arguments=True)
