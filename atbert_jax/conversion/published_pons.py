"""MusiCNN and VGG of the musicnn library (Pons and Serra 2019) as the folders of runs."""

from collections.abc import Sequence
from pathlib import Path

import ml_collections

from atbert_jax import choices
from atbert_jax.configs import tagger as tagger_config
from atbert_jax.conversion.published_tagger import require_sizes
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.models.taggers.musicnn import WIDE
from atbert_jax.weights import engine, pons_rules, tensorflow_checkpoint
from atbert_jax.weights.engine import Conversion
from atbert_jax.weights.files import PYTORCH_CONFIG, Source

# How the training's own config calls our data sets, at the beginning.
DATA_SETS = {"mtt": "mtat", "msd": "msd"}


def read(path: Path) -> Source:
    """The checkpoint of a folder, and the `config.json` of its training where that is there.

    Raises:
        ValueError: if it is damaged.
        OSError: if there is none.
    """
    arrays = tensorflow_checkpoint.read(path)
    file = (path if path.is_dir() else path.parent) / PYTORCH_CONFIG
    return Source(path, arrays, whole_file.read_json(file, "get it anew") if file.is_file() else {})


def published_config(
    source: Source, data: str | None, labels: Sequence[str] = ()
) -> ml_collections.ConfigDict:
    """The config of the network that it is.

    Args:
        source: See `read`.
        data: The data set whose labels it tells; None is the one of the source's `config.json`.
        labels: In the place of those of the data set.

    Raises:
        ValueError: if it is none of these networks, its data set is not known, or another one.
    """
    name = next((name for name, each in pons_rules.MARKS.items() if each in source.arrays), None)
    if name is None:
        raise ValueError(
            f"{source.path} holds no network of the musicnn library: neither"
            f" {' nor '.join(pons_rules.MARKS.values())}; give a folder such as musicnn/MSD_musicnn"
        )
    trained_on = _trained_on(source)
    if data and trained_on and data != trained_on and not labels:
        raise ValueError(
            f"{source.path} was trained on {trained_on}, as its {PYTORCH_CONFIG} says, and not on"
            f" {data}; leave --dataset out"
        )
    data = data or trained_on
    if data or not labels:
        choices.require("--dataset", data or "", sorted(TAG_SETS))
    config = tagger_config.get_config(f"{name},{data}" if data else name)
    width = source.arrays.get(pons_rules.DENSE)
    config.tagger.wide = name == "pons_musicnn" and width is not None and width.shape[-1] == WIDE[1]
    if labels:
        config.data.labels = tuple(labels)
    config.init.audio = str(source.path)  # so that reports say where it comes from
    return config


def data_set(config: ml_collections.ConfigDict) -> str | None:
    """The data set whose labels it tells, or None where they are others."""
    labels = tuple(config.data.labels)
    return next((name for name, tags in TAG_SETS.items() if tags == labels), None)


def _trained_on(source: Source) -> str | None:
    audio = source.config.get("audio_rep")
    told = str(audio.get("identifier", "")) if isinstance(audio, dict) else ""
    return next((ours for theirs, ours in DATA_SETS.items() if told.startswith(theirs)), None)


def from_checkpoint(
    source: Source, config: ml_collections.ConfigDict, contract: Contract
) -> Conversion:
    """The arrays by our names, that of the output included.

    Args:
        source: See `read`.
        config: See `published_config`.
        contract: With the labels.

    Raises:
        ValueError: if it is one of other sizes, or tells another number of tags.
    """
    where, rules = str(source.path), pons_rules.RULES[config.model.name]()
    arrays, taken, unused = engine.to_ours(where, rules, source.arrays, pons_rules.UNUSED)
    count, tags = len(arrays[f"{pons_rules.OUTPUT}/bias"]), len(contract.labels.names)
    if count != tags:
        raise ValueError(
            f"{where} tells {count} tags, but {tags} are named; give those that it was trained on"
            " with --labels=FILE, one on each line"
        )
    what, remedy = f"no {config.model.name} as published", "get the folder anew"
    require_sizes(where, arrays, config, contract, what, remedy)
    return Conversion(arrays, {}, taken, unused, {})
