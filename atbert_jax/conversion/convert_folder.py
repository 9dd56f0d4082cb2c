"""A conversion from end to end: read, apply the rules, write, and show what became of it all."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections
from rich.console import Console

from atbert_jax.configs import tagger as tagger_config
from atbert_jax.conversion import published_clap, published_pons, published_tagger, published_yamnet
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.labelling import read_names
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.text import tokenization, whole_file
from atbert_jax.reporting.tables import print_table
from atbert_jax.training import checkpoint, optimizer, run_folder, trained
from atbert_jax.training.state import define, fresh
from atbert_jax.weights import (
    albert_rules,
    bert_rules,
    engine,
    files,
    resnet_rules,
    sentence_rules,
    tflite_file,
)

FAMILIES = {
    module.FAMILY: module
    for module in (
        albert_rules,
        bert_rules,
        sentence_rules,
        resnet_rules,
        published_tagger,
        published_clap,
    )
}
# Those that go back to PyTorch, too.
BOTH_WAYS = tuple(name for name in FAMILIES if name != sentence_rules.FAMILY)
# Those of text, which come with a tokenizer.
TEXT = (albert_rules.FAMILY, bert_rules.FAMILY, sentence_rules.FAMILY)
CLAP = published_clap.FAMILY

# Wide enough for the longest names side by side.
TABLE_WIDTH = 180


def from_pytorch(
    family: str, source: str, folder: Path, *, stem: str = "adapt", console: Console | None = None
) -> None:
    """Writes PyTorch's weights into a folder that training can start from.

    Args:
        family: 'albert', 'bert', 'sentence_transformer' or 'resnet'.
        source: See `conversion.files.read_pytorch`.
        folder: New.
        stem: Of a ResNet: 'adapt' or 'random'.
        console: Where to talk.

    Raises:
        ValueError: if the source is not of this family, or the folder is there already.
        OSError: if there is no such source.
    """
    console = console or Terminal(width=TABLE_WIDTH)
    with files.creating(folder) as draft:
        found, tokenizer, field = files.read_pytorch(source), None, "audio"
        if family in TEXT:
            conversion, field = FAMILIES[family].from_pytorch(found, source), "text"
            tokenizer = files.read_tokenizer(found.path.parent)
            _require_words(conversion, tokenizer, found.path.parent, console)
        else:
            conversion = resnet_rules.from_pytorch(found, source, stem)
        files.write(draft, conversion, tokenizer, pytorch=False)
    print_table(conversion.table(f"{family} from {found.path}"), console)
    console.print(f"train with --config.init.{field}={folder}", highlight=False, markup=False)
    if family in TEXT and tokenizer is None:
        console.print("the source has no tokenizer: give --config.text.tokenizer as well")


def _require_words(
    conversion: engine.Conversion, tokenizer: Any, folder: Path, console: Console
) -> None:
    """Checks that there is a vector for each piece that a tokenizer can give."""
    if tokenizer is None:
        return
    pieces, rows = 1 + max(tokenizer.get_vocab().values()), conversion.about["vocabulary"]
    if pieces > rows:
        raise ValueError(
            f"{folder}: the tokenizer has {pieces} pieces, the weights have vectors of {rows}; its"
            " files are of another model"
        )
    if pieces < rows:  # some models have more, so that their number is a round one
        console.print(
            f"the tokenizer has {pieces} pieces, the weights have vectors of {rows}: see that its"
            " files are whole",
            highlight=False,
        )


def tagger_from_pytorch(
    source: str,
    folder: Path,
    *,
    model: str | None,
    dataset: str | None,
    labels: Path | None = None,
    console: Console | None = None,
) -> None:
    """Writes a tagger's weights as the folder of a run before its first step.

    Args:
        source: See `conversion.files.read_pytorch`.
        folder: New.
        model: Which network it is, as 'musicnn'.
        dataset: Whose labels it tells, as 'mtat'.
        labels: A file with one on each line, in the place of those of the data set.
        console: Where to talk.

    Raises:
        ValueError: if the source is not this network with as many labels, or the folder is there
            already.
        OSError: if there is no such source.
    """
    console = console or Terminal(width=TABLE_WIDTH)
    config = published_tagger.published_config(model, dataset, read_names(labels) if labels else ())
    config.init.audio = source  # so that reports say where it comes from
    with files.creating(folder) as draft:
        found = files.read_pytorch(source)
        published_tagger.take_width(config, found)
        conversion = _write_tagger(found, draft, config, published_tagger.from_pytorch)
    print_table(conversion.table(f"{model} from {found.path}"), console)
    given = f"{model},{dataset}" if dataset else model
    published = tagger_config.get_config(given).tagger.attention
    own = config.tagger.attention
    width = "" if own == published else f" --config.tagger.attention={own}"
    _say_use(console, folder, given, width)


def yamnet_from_tflite(
    source: Path, folder: Path, *, labels: Path | None = None, console: Console | None = None
) -> None:
    """Writes YAMNet's weights as the folder of a run before its first step.

    Args:
        source: The `.tflite` file.
        folder: New.
        labels: The class map, a CSV with the names under `display_name`, or a file with one on each
            line; None is `yamnet_class_map.csv` beside the source.
        console: Where to talk.

    Raises:
        ValueError: if the source is no such file with as many labels, or the folder is there
            already.
        OSError: if there is no such source, or no class map.
    """
    console = console or Terminal(width=TABLE_WIDTH)
    config = published_yamnet.published_config(source, labels)
    with files.creating(folder) as draft:
        found = files.Source(source, tflite_file.read(source), {})
        conversion = _write_tagger(found, draft, config, published_yamnet.from_tflite)
    print_table(conversion.table(f"yamnet from {source}"), console)
    _say_use(console, folder, "yamnet")


def pons_from_tensorflow(
    source: Path,
    folder: Path,
    *,
    dataset: str | None = None,
    labels: Path | None = None,
    console: Console | None = None,
) -> None:
    """Writes a network of the musicnn library as the folder of a run before its first step.

    Args:
        source: The folder of TensorFlow's checkpoint, as `musicnn/MSD_musicnn`.
        folder: New.
        dataset: Whose labels it tells; None is what the source's `config.json` says.
        labels: A file with one on each line, in the place of those of the data set.
        console: Where to talk.

    Raises:
        ValueError: if the source is no such network with as many labels, or the folder is there
            already.
        OSError: if there is no such source.
    """
    console = console or Terminal(width=TABLE_WIDTH)
    with files.creating(folder) as draft:
        found = published_pons.read(source)
        names = read_names(labels) if labels else ()
        config = published_pons.published_config(found, dataset, names)
        conversion = _write_tagger(found, draft, config, published_pons.from_checkpoint)
    name, data = config.model.name, published_pons.data_set(config)
    print_table(conversion.table(f"{name} from {source}"), console)
    given = f"{name},{data}" if data else name
    wide = " --config.tagger.wide" if config.tagger.wide else ""
    _say_use(console, folder, given, wide)


def clap_from_pytorch(source: str, folder: Path, *, console: Console | None = None) -> None:
    """Writes a CLAP as the folder of a run before its first step.

    Args:
        source: See `weights.files.read_pytorch`; a folder or a hub name, with a tokenizer.
        folder: New.
        console: Where to talk.

    Raises:
        ValueError: if the source is no CLAP, lacks an array or has one that is not known, or the
            folder is there already.
        OSError: if there is no such source, or a file of it is missing.
    """
    console = console or Terminal(width=TABLE_WIDTH)
    with files.creating(folder) as draft:
        found = files.read_pytorch(source)
        config = published_clap.published_config(found, source)
        tokenizer = files.read_tokenizer(found.path.parent)
        if tokenizer is None:
            raise FileNotFoundError(
                f"{found.path.parent}: no tokenizer.json here, by which the model reads; get it"
                " from where the weights came from"
            )
        contract = published_clap.contract(config, found, tokenizer)
        conversion = published_clap.from_pytorch(found, config, contract)
        _write_run(draft, config, contract, tokenizer, conversion)
    print_table(conversion.table(f"{CLAP} from {found.path}"), console)
    console.print(
        f"use it with `atbert predict --checkpoint {folder} --labels cat,dog FILE`, index a"
        f" library with `atbert index MUSIC --checkpoint {folder} --output LIBRARY`",
        highlight=False,
        markup=False,
    )


def _say_use(console: Console, folder: Path, given: str, more: str = "") -> None:
    """What a tagger's new folder is for; `given` are the words behind `tagger:`."""
    console.print(
        f"use it with `atbert predict --checkpoint {folder} FILE`, train with"
        f" --config tagger:{given} --config.init_from={folder}{more}",
        highlight=False,
        markup=False,
    )


def _write_tagger(
    found: files.Source,
    folder: Path,
    config: ml_collections.ConfigDict,
    convert: Callable[[files.Source, ml_collections.ConfigDict, Contract], engine.Conversion],
) -> engine.Conversion:
    """Writes a run with the weights of a tagger, and returns what became of what was read."""
    tokenizer = tokenization.tokenizer_without_text()
    tags = Labels(config.data.task, tuple(config.data.labels))
    contract = make_contract(config, tokenizer, tags)
    conversion = convert(found, config, contract)
    _write_run(folder, config, contract, tokenizer, conversion)
    return conversion


def _write_run(
    folder: Path,
    config: ml_collections.ConfigDict,
    contract: Contract,
    tokenizer: Any,
    conversion: engine.Conversion,
) -> None:
    """Writes the folder of a run before its first step, of all arrays of its model."""
    _, *shapes = define(config, contract)
    params, statistics = jax.tree_util.tree_map_with_path(
        lambda path, _: jax.numpy.asarray(conversion.arrays[engine.name_of(path[1:])]), shapes
    )
    steps = optimizer.build(config.optimizer, config.train.steps)
    run_folder.save_run(folder, config, contract, tokenizer)
    with contextlib.closing(checkpoint.Checkpoints(folder)) as checkpoints:
        # It has not been measured, but is the best there is.
        checkpoints.save(fresh(params, statistics, steps), 0.0)


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
        family: 'albert', 'bert', 'resnet', 'tagger' or 'clap'.
        workdir: The folder of a training run.
        folder: New.
        step: Which checkpoint; None is the best one.
        console: Where to talk.

    Raises:
        ValueError: if the model has no such part, or the folder is there already.
    """
    console = console or Terminal(width=TABLE_WIDTH)
    with files.creating(folder) as draft:
        model = trained.load(workdir, step)
        conversion = FAMILIES[family].to_pytorch(model)
        tokenizer = model.tokenizer if family in (*TEXT, CLAP) else None
        files.write(draft, conversion, tokenizer, pytorch=True)
        if family == CLAP:
            front_end = json.dumps(published_clap.front_end(model), indent=2)
            whole_file.write(draft / files.FRONT_END, front_end + "\n")
    print_table(conversion.table(f"{family} from checkpoint {model.step} of {workdir}"), console)
