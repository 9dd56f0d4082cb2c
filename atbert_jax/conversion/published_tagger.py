"""Music taggers (Won et al. 2020): PyTorch's state dicts as the folders of runs, and back."""

from collections.abc import Sequence

import jax
import ml_collections
import numpy as np

from atbert_jax import choices
from atbert_jax.configs import tagger as tagger_config
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS
from atbert_jax.training.state import define
from atbert_jax.training.trained import Trained
from atbert_jax.weights import engine
from atbert_jax.weights.engine import Conversion
from atbert_jax.weights.files import Source
from atbert_jax.weights.tagger_rules import OUTPUT, PREFIX, RULES, UNUSED

FAMILY = "tagger"
# The network and data set whose published weights tell other tags than the data set's.
OTHER_TAGS = ("music_transformer", "msd")
# What PyTorch's modules keep beside the filter bank.
WINDOW, FILTER_BANK = "spec.spectrogram.window", "spec.mel_scale.fb"


def published_config(
    name: str | None, data: str | None, labels: Sequence[str] = ()
) -> ml_collections.ConfigDict:
    """The config of a network as it was published.

    Args:
        name: Of the network.
        data: Of the data set whose labels it tells, which need not be named where they are given.
        labels: In the place of those of the data set.

    Raises:
        ValueError: if a name is not known (the message lists those that are), or the labels are
            not those of the published weights.
    """
    # The file of the weights tells neither.
    choices.require("--model", name or "", sorted(RULES))
    if data or not labels:
        choices.require("--dataset", data or "", sorted(TAG_SETS))
    if (name, data) == OTHER_TAGS and not labels:
        raise ValueError(
            f"the published {name} tells 50 tags of a split of the Million Song Dataset of its own,"
            f" whose names are not those of --dataset={data}; give its own with --labels=FILE, one"
            " on each line, in its order"
        )
    config = tagger_config.get_config(f"{name},{data}" if data else name)
    if labels:
        config.data.labels = tuple(labels)
    return config


def take_width(config: ml_collections.ConfigDict, source: Source) -> None:
    """Sets the width of a music transformer to that of the file: its students are narrower."""
    token = engine.without_prefix(source.arrays, PREFIX).get("cls_token")
    if config.model.name == "music_transformer" and token is not None:
        config.tagger.attention = token.shape[-1]


def from_pytorch(
    source: Source, config: ml_collections.ConfigDict, contract: Contract
) -> Conversion:
    """A tagger's arrays by our names, that of the output included.

    Args:
        source: A state dict in the names of Won et al. (2020).
        config: See `published_config`.
        contract: With the tags.

    Raises:
        ValueError: if it is another network, or one of other sizes or another number of tags.
    """
    where, name, tags = str(source.path), config.model.name, len(contract.labels.names)
    theirs = engine.without_prefix(source.arrays, PREFIX)
    _require_network(where, theirs, name)
    arrays, taken, unused = engine.to_ours(where, RULES[name](), theirs, UNUSED)
    count = len(arrays[f"{OUTPUT}/bias"])
    if count != tags:
        raise ValueError(
            f"{where} tells {count} tags, but the data set has {tags}; give the --dataset that it"
            " was trained on, or its --labels"
        )
    require_sizes(
        where,
        arrays,
        config,
        contract,
        f"no {name} as published for this data set",
        "give the --dataset that it was trained on",
    )
    return Conversion(arrays, {}, taken, unused, {})


def require_sizes(
    where: str,
    arrays: engine.Arrays,
    config: ml_collections.ConfigDict,
    contract: Contract,
    what: str,
    remedy: str,
) -> None:
    """Checks that arrays have the sizes that the config's model has.

    Args:
        where: The source, for messages.
        arrays: By our names, all of the model's.
        config: Of the model.
        contract: With its labels.
        what: The source is if not.
        remedy: And what to do then.

    Raises:
        ValueError: if not.
    """
    _, *trees = define(config, contract)
    wrong = [
        f"{path} {arrays[path].shape} instead of {like.shape}"
        for path, like in engine.flat(*trees).items()
        if arrays[path].shape != like.shape
    ]
    if wrong:
        raise ValueError(f"{where} is {what}: {engine.listed(wrong)}; {remedy}")


def _require_network(where: str, arrays: engine.Arrays, name: str) -> None:
    """Checks that the names are those of the network, and says which they are otherwise."""
    fitting = [
        each for each, rules in RULES.items() if all(rule.theirs in arrays for rule in rules())
    ]
    if fitting and name not in fitting:
        raise ValueError(
            f"{where} holds no {name}: its names are those of {' or '.join(fitting)}; set"
            f" --model={fitting[0]}"
        )


def to_pytorch(model: Trained) -> Conversion:
    """A trained tagger in PyTorch's names, for a strict load.

    Args:
        model: From the folder of a run.

    Raises:
        ValueError: if the model is no tagger with a linear output.
    """
    name, contract = model.config.model.name, model.contract
    choices.require(f"{model.workdir}: model", name, RULES)
    arrays = jax.device_get(engine.flat(model.params, model.statistics))
    target, taken, unused = engine.to_theirs(
        str(model.workdir), RULES[name](), arrays, "no part of the network"
    )
    missing = {}
    if FILTER_BANK in target:
        target[WINDOW] = contract.spectrogram.window.astype(np.float32)
        missing[WINDOW] = "a Hann window, made anew"
    about = {
        "model": name,
        "sample_rate": contract.spectrogram.sample_rate,
        "samples": contract.segmenting.samples(contract.spectrogram.sample_rate),
        "tags": list(contract.labels.names),
    }
    return Conversion(target, about, taken, unused, missing)
