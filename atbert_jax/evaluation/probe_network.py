"""The network of a probe: frozen models to hear with, as long as the clips are, and its arrays."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax.evaluation.linear_fit import Model
from atbert_jax.evaluation.sentence_vectors import Sentences
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import track
from atbert_jax.training.state import abstract, split
from atbert_jax.training.trained import Trained


def with_ears(
    config: ml_collections.ConfigDict, models: Mapping[str, Trained]
) -> ml_collections.ConfigDict:
    """The config of a probe, in which the models are described, at their sample rate.

    Raises:
        ValueError: if they hear at different rates.
    """
    config = config.copy_and_resolve_references()
    rates = {model.contract.spectrogram.sample_rate for model in models.values()}
    if len(rates) > 1:
        listed = ", ".join(
            f"{name} {model.contract.spectrogram.sample_rate} Hz" for name, model in models.items()
        )
        raise ValueError(f"the models hear at different rates ({listed}); probe those of one rate")
    if rates:
        config.spectrogram.sample_rate = rates.pop()
    with config.unlocked():
        config.probe.ears = {
            name: {
                "config": json.loads(model.config.to_json_best_effort()),
                "contract": json.loads(json.dumps(dataclasses.asdict(model.contract))),
            }
            for name, model in models.items()
        }
    # So that reports say where it comes from.
    config.init.audio = " and ".join(str(model.workdir) for model in models.values())
    return config


def of_length(
    config: ml_collections.ConfigDict,
    contract: Contract,
    records: Sequence[Record],
    console: Console,
) -> tuple[ml_collections.ConfigDict, Contract]:
    """Config and contract of segments as long as the longest clip of all, if that is shorter.

    Raises:
        ValueError: if no clip can be read.
    """
    reader = Reader(contract.spectrogram.sample_rate, contract.segmenting)
    longest = 0.0
    for record in track(records, "lengths", len(records), "clips", console=console):
        with contextlib.suppress(AudioError):  # reported where it is read
            longest = max(longest, reader.duration(record))
    if not longest:
        raise ValueError("not one clip of the manifest could be read as audio")
    # A rest shorter than a millisecond is none.
    seconds = min(config.segmenting.seconds, math.ceil(longest * 100 - 0.1) / 100)
    config.segmenting.seconds = seconds
    segmenting = dataclasses.replace(contract.segmenting, seconds=seconds)
    return config, dataclasses.replace(contract, segmenting=segmenting)


def filled(
    config: ml_collections.ConfigDict,
    contract: Contract,
    models: Mapping[str, Trained],
    sentences: Sentences | None,
    learned: Model | None = None,
) -> tuple[dict, dict]:
    """Parameters and statistics of the probe that the config describes, with the models' arrays.

    Args:
        config: See `with_ears`.
        contract: Of clips.
        models: Whose arrays its ears have.
        sentences: Whose arrays its side of texts has, if there is one.
        learned: The head, or the map, with the standards of the features; None leaves 0, and
            features as they are.
    """
    _, params, statistics = split(abstract(config, contract))
    own = {name: (models[name].params, models[name].statistics) for name in config.probe.ears}
    for name, (parameters, running) in own.items():
        params["model"]["ears"][name]["model"] = parameters["model"]
        if "model" in running:
            statistics["model"]["ears"][name]["model"] = running["model"]
    like = statistics["model"]["mean"].shape
    mean, scale = (learned.mean, learned.scale) if learned else (np.zeros(like), np.ones(like))
    statistics["model"] |= {"mean": jnp.float32(mean), "scale": jnp.float32(scale)}
    if sentences:
        params["model"]["sentence"] = sentences.params(contract.max_tokens)
        head = params["model"]["output"]
    else:
        head = params["objectives"]["classification"]["output"]
    for name in ("kernel", "bias"):
        value = getattr(learned, name) if learned else np.zeros(head[name].shape)
        head[name] = jnp.asarray(value, jnp.float32)
    return params, statistics
