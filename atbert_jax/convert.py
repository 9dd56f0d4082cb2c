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

from pathlib import Path

from absl import flags

from atbert_jax import command

STEM = flags.DEFINE_enum("stem", "adapt", ["adapt", "random"], "What becomes of a ResNet's stem.")
TO_PYTORCH = flags.DEFINE_bool("to_pytorch", False, "From a run's folder to PyTorch's names.")
STEP = flags.DEFINE_integer("step", None, "Which checkpoint of it; by default the best one.")


def main(arguments: list[str]) -> None:
    """Converts what the arguments say."""
    if len(arguments) != 3 or arguments[0] not in ("albert", "resnet"):
        raise ValueError(
            "give a family, a source and a new folder: atbert_jax.convert albert SOURCE FOLDER, or"
            " resnet SOURCE FOLDER"
        )
    from atbert_jax.conversion import run

    family, source, folder = arguments
    if TO_PYTORCH.value:
        run.to_pytorch(family, Path(source), Path(folder), step=STEP.value)
    else:
        run.from_pytorch(family, source, Path(folder), stem=STEM.value)


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
