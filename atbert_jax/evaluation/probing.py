"""A manifest and frozen models -> a probe's folder: features, a linear model, and what it chose."""

import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax import choices
from atbert_jax.evaluation import linear_fit
from atbert_jax.evaluation.probed_features import Heard, hear
from atbert_jax.evaluation.sentence_vectors import Sentences
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.dataset import Split
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import Terminal, track
from atbert_jax.input_pipeline.text import tokenization, whole_file
from atbert_jax.models import linear_probe
from atbert_jax.models.linear_probe import LIMIT, MFCC
from atbert_jax.reporting.tables import Table, print_table
from atbert_jax.training import checkpoint, optimizer, run_folder, trained
from atbert_jax.training.state import abstract, fresh, split
from atbert_jax.training.trained import Trained
from atbert_jax.weights import files

# What a probe's folder holds beside what a run's does.
CHOSEN = "probe.json"
TOGETHER = "all together"
# The model that is asked by texts.
CAPTIONS = "caption_probe"


def probe(
    config: ml_collections.ConfigDict,
    sources: Sequence[Path],
    workdir: Path,
    cache: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Fits a linear model on what frozen models hear in the training split.

    It tells labels, tags or numbers; or, where `config.model.name` is 'caption_probe', the vector
    that the sentence encoder of `config.init.text` gives a clip's caption.

    Each model by itself, statistics of MFCCs (`config.probe.mfcc`), and all together are compared
    by cross-validation on the training split, no group of which is on both sides; the best with its
    best penalty is fitted on all of the split. No other split is looked at.

    Args:
        config: Of `configs.probe`.
        sources: Folders of runs or of converted models; none leaves the statistics alone.
        workdir: New; becomes a run's folder.
        cache: Folder that features are kept in, to be found again by the next probe.
        console: Where to talk.

    Returns:
        What was compared and chosen, as `probe.json` holds it.

    Raises:
        ValueError: if a source, the manifest or the folder is not as it should be.
        OSError: if something cannot be read or written.
    """
    console = console or Terminal()
    files.require_new(workdir)
    choices.require("config.model.name", config.model.name, ["probe", CAPTIONS])
    models = _loaded(sources)
    config, sentences = _with_sentences(_with_ears(config, models))
    tokenizer = sentences.tokenizer if sentences else tokenization.tokenizer_without_text()
    data = dataset.load(config, workdir.parent, tokenizer=tokenizer, contract=None)
    config, contract = _of_length(config, data, console)
    fill = functools.partial(_filled, config, contract, models, sentences)
    records, targets = _known(data.split("train"), sentences)
    heard = hear(config, contract, fill(), models, records, targets, cache, console)
    task = "regression" if sentences else contract.labels.task
    names, choice, rows = _choose(heard, task)
    kernel, bias, mean, scale = _fit(heard, names, task, choice.penalty)
    config.probe.ears = {name: config.probe.ears[name] for name in names if name != MFCC}
    config.probe.mfcc = MFCC in names
    chosen = {
        "features": list(names),
        "penalty": choice.penalty,
        "clips": len(heard.targets),
        "compared": [dict(zip(("features", "penalty", "loss"), row, strict=True)) for row in rows],
    }
    params, statistics = fill(mean, scale, (kernel, bias))
    if sentences:
        sharpness = linear_fit.sharpness(choice.outputs, heard.targets)
        params["objectives"]["alignment"]["log_scale"] = jnp.log(jnp.float32(sharpness))
    steps = optimizer.build(config.optimizer, config.train.steps)
    with files.creating(workdir) as draft:
        run_folder.save_run(draft, config, contract, tokenizer)
        with contextlib.closing(checkpoint.Checkpoints(draft)) as checkpoints:
            checkpoints.save(fresh(params, statistics, steps), 0.0)
        whole_file.write_json(draft / CHOSEN, chosen)
    note = "Loss of groups that were left out in turn; the least is fitted on all clips of train."
    title = f"{len(heard.targets)} clips of train"
    print_table(Table(title, ["features", "penalty", "loss"], rows, note), console)
    console.print(
        f"{' and '.join(names)} it is; measure it with `atbert evaluate --checkpoint {workdir}"
        " --output REPORT`",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return chosen


def _loaded(sources: Sequence[Path]) -> dict[str, Trained]:
    """The models by the names of their folders, which a number tells apart where they are equal."""
    models: dict[str, Trained] = {}
    for source in sources:
        name = source.resolve().name.replace(".", "_")
        taken = sum(each == name or each.startswith(f"{name}-") for each in models)
        models[f"{name}-{taken + 1}" if taken or name == MFCC else name] = trained.load(source)
    return models


def _with_sentences(
    config: ml_collections.ConfigDict,
) -> tuple[ml_collections.ConfigDict, Sentences | None]:
    """The config with the sizes of the sentence encoder, where captions are learned."""
    if config.model.name != CAPTIONS:
        return config, None
    if not config.init.text:
        raise ValueError(
            "captions need a sentence encoder: set --config.init.text to a folder of `atbert"
            " convert sentence_transformer`"
        )
    sentences = Sentences(Path(config.init.text))
    config.model.update(sentences.sizes)
    config.caption_probe.normalized = sentences.normalized
    config.text.max_tokens = min(config.text.max_tokens, sentences.longest)
    return config, sentences


def _known(train: Split, sentences: Sentences | None) -> tuple[list[Record], np.ndarray]:
    """The R records that something is to be learned of, and their targets (R, C)."""
    if sentences:
        rows = np.flatnonzero(train.token_mask.max(axis=1) > 0)
        missing = "text; name its column with config.data.text_column"
    else:
        rows = np.flatnonzero((train.label_mask > 0) & ~train.soft)
        missing = "labels; name their column"
    if not len(rows):
        raise ValueError(f"no record of the train split has {missing}")
    records = [train.records[row] for row in rows]
    if sentences:
        return records, sentences([record.text for record in records])
    return records, train.labels[rows]


def _with_ears(
    config: ml_collections.ConfigDict, models: Mapping[str, Trained]
) -> ml_collections.ConfigDict:
    """The config, in which the models are described, at their sample rate."""
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


def _of_length(
    config: ml_collections.ConfigDict, data: dataset.Dataset, console: Console
) -> tuple[ml_collections.ConfigDict, Contract]:
    """Config and contract of segments as long as the longest clip of all, if that is shorter."""
    contract = data.contract
    reader = Reader(contract.spectrogram.sample_rate, contract.segmenting)
    longest = 0.0
    records = [record for part in data.splits.values() for record in part.records]
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


def _filled(
    config: ml_collections.ConfigDict,
    contract: Contract,
    models: Mapping[str, Trained],
    sentences: Sentences | None,
    mean: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    output: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[dict, dict]:
    """Parameters and statistics of the probe that the config describes, with the models' arrays.

    Args:
        config: See `_with_ears`.
        contract: Of clips.
        models: Whose arrays its ears have.
        sentences: Whose arrays its side of texts has, if there is one.
        mean: Of the features; None is 0.
        scale: Of the features, likewise 1.
        output: Kernel (D, C) and bias (C,) of the head, or of the map; None is 0.
    """
    _, params, statistics = split(abstract(config, contract))
    own = {name: (models[name].params, models[name].statistics) for name in config.probe.ears}
    for name, (parameters, running) in own.items():
        params["model"]["ears"][name]["model"] = parameters["model"]
        if "model" in running:
            statistics["model"]["ears"][name]["model"] = running["model"]
    like = statistics["model"]["mean"]
    statistics["model"]["mean"] = jnp.zeros(like.shape) if mean is None else jnp.float32(mean)
    statistics["model"]["scale"] = jnp.ones(like.shape) if scale is None else jnp.float32(scale)
    if sentences:
        params["model"]["sentence"] = sentences.params(contract.max_tokens)
        head = params["model"]["output"]
    else:
        head = params["objectives"]["classification"]["output"]
    values = output or (np.zeros(head["kernel"].shape), np.zeros(head["bias"].shape))
    head["kernel"], head["bias"] = (jnp.asarray(value, jnp.float32) for value in values)
    return params, statistics


def _standardised(values: np.ndarray) -> np.ndarray:
    mean, scale = linear_fit.standards(values)
    return np.clip((values - mean) * scale, -LIMIT, LIMIT)


def _joined(heard: Heard, names: Sequence[str]) -> np.ndarray:
    parts = {name: heard.parts[name] for name in names}
    return np.asarray(linear_probe.joined(parts), np.float64)


def _choose(heard: Heard, task: str) -> tuple[tuple[str, ...], linear_fit.Choice, list[list]]:
    """The features with the least loss, their penalty, and a row for each that were compared."""
    compared = {name: (name,) for name in heard.parts}
    if len(heard.parts) > 1:
        compared[TOGETHER] = tuple(heard.parts)
    found = {}
    for title, names in compared.items():
        features = linear_fit.Features(_standardised(_joined(heard, names)))
        found[title] = linear_fit.choose(features.rotated, heard.targets, heard.groups, task)
    rows = [[title, choice.penalty, choice.loss] for title, choice in found.items()]
    measured = {title: each.loss for title, each in found.items() if each.loss is not None}
    # Where there is nothing to leave out, what is heard with is all there is.
    best = min(measured, key=measured.get) if measured else list(compared)[-1]
    return compared[best], found[best], rows


def _fit(
    heard: Heard, names: Sequence[str], task: str, penalty: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kernel (D, C) and bias (C,) of standardised features, and their mean and scale (D,)."""
    values = _joined(heard, names)
    features = linear_fit.Features(_standardised(values))
    kernel, bias = linear_fit.fit(features.rotated, heard.targets, task, penalty)
    return features.weights(kernel), bias, *linear_fit.standards(values)
