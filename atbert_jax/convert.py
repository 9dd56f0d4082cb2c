"""Weights from PyTorch: `atbert convert albert SOURCE FOLDER`, or of another family.

SOURCE is a folder of `save_pretrained` (with `model.safetensors` or `pytorch_model.bin`), one file
of weights, or the name of a model on the Hugging Face hub, which is the only case in which
something is downloaded. PyTorch is not needed. FOLDER is new and gets `weights.safetensors` under
our names, `conversion.json` with the sizes, and the tokenizer if the source has one. A table says
what became of every array; one that is missing or that nothing is known of is an error.

* `albert` is any ALBERT of one layer group, and `bert` any BERT with absolute positions. The head
  of masked language modelling comes along.
* `sentence_transformer` is a folder of sentence-transformers with a BERT, whose vector of a text is
  the mean of its tokens, as that of all-MiniLM-L6-v2. FOLDER says how, and is one of a BERT, too.
* `resnet` is any ResNet of bottlenecks in the names of torchvision or Hugging Face, with its
  running statistics. `--stem=adapt` makes its stem for pictures one for spectrograms,
  `--stem=random` leaves it out.

Training starts from them with `--config.init.text=FOLDER` and `--config.init.audio=FOLDER`.

* `tagger` is a music tagger in the names of Won et al. (2020): `--model=musicnn --dataset=mtat`
  say which network it is, and whose labels it tells. FOLDER becomes that of a run, which `predict`,
  `evaluate` and `--config.init_from=FOLDER` take.

* `yamnet` is YAMNet's file of TensorFlow Lite, which takes TensorFlow to read. The names of its
  sounds are in `yamnet_class_map.csv` beside it, or `--labels=FILE`. FOLDER is that of a run, too.

* `pons` is MusiCNN or VGG of the musicnn library: a folder with a checkpoint of TensorFlow, which
  takes TensorFlow to read. Whose labels it tells is in its `config.json`, or `--dataset=msd`.
  FOLDER is that of a run, too.

* `clap` is a CLAP of LAION in the names of transformers' `ClapModel`, with or without fusion, as
  `laion/larger_clap_music`: a folder with `config.json`, `preprocessor_config.json` and
  `tokenizer.json` beside the weights. FOLDER is a run that compares sounds and texts.

With `--to_pytorch` SOURCE is the folder of a training run, and FOLDER gets `model.safetensors` with
PyTorch's names and a `config.json`: an ALBERT that `AlbertModel.from_pretrained` loads, or a BERT
for `BertModel`, a ResNet for torchvision's model with a 9x9 stem (see
`weights.resnet_rules.to_pytorch`), a tagger, or a CLAP for `ClapModel` and `ClapProcessor`.
"""

from pathlib import Path

from absl import flags

from atbert_jax import choices, command

STEM = flags.DEFINE_enum("stem", "adapt", ["adapt", "random"], "What becomes of a ResNet's stem.")
MODEL = flags.DEFINE_string("model", None, "Which network a tagger is, as 'musicnn'.")
DATASET = flags.DEFINE_string("dataset", None, "Whose labels it tells, as 'mtat'.")
LABELS = flags.DEFINE_string("labels", None, "File of its labels, if they are of no such data set.")
TO_PYTORCH = flags.DEFINE_bool("to_pytorch", False, "From a run's folder to PyTorch's names.")
STEP = flags.DEFINE_integer("step", None, "Which checkpoint of it; by default the best one.")


def main(arguments: list[str]) -> None:
    """Converts what the arguments say."""
    families = (
        "albert",
        "bert",
        "resnet",
        "tagger",
        "yamnet",
        "pons",
        "clap",
        "sentence_transformer",
    )
    if len(arguments) != 3 or arguments[0] not in families:
        raise ValueError(
            "give a family, a source and a new folder: atbert convert albert SOURCE FOLDER, or"
            f" {', '.join(families[1:-1])} or {families[-1]} in the place of albert"
        )
    from atbert_jax.conversion import convert_folder

    family, source, folder = arguments
    labels = Path(LABELS.value) if LABELS.value else None
    if TO_PYTORCH.value:
        choices.require("family for --to_pytorch", family, convert_folder.BOTH_WAYS)
        convert_folder.to_pytorch(family, Path(source), Path(folder), step=STEP.value)
    elif family == "tagger":
        convert_folder.tagger_from_pytorch(
            source, Path(folder), model=MODEL.value, dataset=DATASET.value, labels=labels
        )
    elif family == "yamnet":
        convert_folder.yamnet_from_tflite(Path(source), Path(folder), labels=labels)
    elif family == "pons":
        convert_folder.pons_from_tensorflow(
            Path(source), Path(folder), dataset=DATASET.value, labels=labels
        )
    elif family == "clap":
        convert_folder.clap_from_pytorch(source, Path(folder))
    else:
        convert_folder.from_pytorch(family, source, Path(folder), stem=STEM.value)


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
