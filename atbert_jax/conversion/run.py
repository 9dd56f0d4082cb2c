"""A conversion from end to end: read, apply the rules, write, and show what became of it all."""

from pathlib import Path

from rich.console import Console

from atbert_jax.conversion import albert, files, resnet
from atbert_jax.evaluation.tables import print_table
from atbert_jax.training import trained

# Wide enough for the longest names side by side.
TABLE_WIDTH = 180


def from_pytorch(
    family: str, source: str, folder: Path, *, stem: str = "adapt", console: Console | None = None
) -> None:
    """Writes PyTorch's weights into a folder that training can start from.

    Args:
        family: 'albert' or 'resnet'.
        source: See `conversion.files.read_pytorch`.
        folder: New.
        stem: Of a ResNet: 'adapt' or 'random'.
        console: Where to talk.

    Raises:
        ValueError: if the source is not of this family, or the folder is there already.
        OSError: if there is no such source.
    """
    console = console or Console(width=TABLE_WIDTH)
    files.require_new(folder)
    found, tokenizer, field = files.read_pytorch(source), None, "audio"
    if family == "albert":
        conversion, field = albert.from_pytorch(found, source), "text"
        tokenizer = files.read_tokenizer(found.path.parent)
    else:
        conversion = resnet.from_pytorch(found, source, stem)
    files.write(folder, conversion, tokenizer, pytorch=False)
    print_table(conversion.table(f"{family} from {found.path}"), console)
    console.print(f"train with --config.init.{field}={folder}", highlight=False)
    if family == "albert" and tokenizer is None:
        console.print("the source has no tokenizer: give --config.text.tokenizer as well")


def to_pytorch(
    family: str,
    workdir: Path,
    folder: Path,
    *,
    step: int | None = None,
    console: Console | None = None,
) -> None:
    """Writes a part of a trained model for PyTorch.

    Args:
        family: 'albert' or 'resnet'.
        workdir: The folder of a training run.
        folder: New.
        step: Which checkpoint; None is the best one.
        console: Where to talk.

    Raises:
        ValueError: if the model has no such part, or the folder is there already.
    """
    console = console or Console(width=TABLE_WIDTH)
    files.require_new(folder)
    model = trained.load(workdir, step)
    conversion = (albert if family == "albert" else resnet).to_pytorch(model)
    tokenizer = model.tokenizer if family == "albert" else None
    files.write(folder, conversion, tokenizer, pytorch=True)
    print_table(conversion.table(f"{family} from checkpoint {model.step} of {workdir}"), console)
