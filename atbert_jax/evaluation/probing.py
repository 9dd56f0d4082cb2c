"""A manifest and frozen models -> a probe's folder: features, a linear model, and what it chose."""

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax import choices
from atbert_jax.evaluation import linear_fit
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.contract import Contract
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
# Clips that are computed at a time.
BATCH = 8

Parts = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Heard:
    """Features of the clips of a training split.

    Attributes:
        parts: (N, D_i) by the name of what was heard with.
        targets: (N, C).
        groups: (N,), the same number for clips of one group.
    """

    parts: Parts
    targets: np.ndarray
    groups: np.ndarray


def probe(
    config: ml_collections.ConfigDict,
    sources: Sequence[Path],
    workdir: Path,
    cache: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Fits a linear model on what frozen models hear in the training split.

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
    choices.require("config.model.name", config.model.name, ["probe"])
    models = _loaded(sources)
    config = _with_ears(config, models)
    data = dataset.load(config, workdir.parent, tokenizer=None, contract=None)
    config, contract = _of_length(config, data, console)
    heard = _hear(config, contract, models, data, cache, console)
    names, choice, rows = _choose(heard, contract.labels.task)
    kernel, bias, mean, scale = _fit(heard, names, contract.labels.task, choice.penalty)
    config.probe.ears = {name: config.probe.ears[name] for name in names if name != MFCC}
    config.probe.mfcc = MFCC in names
    chosen = {
        "features": list(names),
        "penalty": choice.penalty,
        "clips": len(heard.targets),
        "compared": [dict(zip(("features", "penalty", "loss"), row, strict=True)) for row in rows],
    }
    params, statistics = _filled(config, contract, models, mean, scale, (kernel, bias))
    steps = optimizer.build(config.optimizer, config.train.steps)
    tokenizer = tokenization.tokenizer_without_text()
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
    mean: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    output: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[dict, dict]:
    """Parameters and statistics of the probe that the config describes, with the models' arrays.

    Args:
        config: See `_with_ears`.
        contract: Of clips.
        models: Whose arrays its ears have.
        mean: Of the features; None is 0.
        scale: Of the features, likewise 1.
        output: Kernel (D, C) and bias (C,) of the head; None is 0.
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
    head = params["objectives"]["classification"]["output"]
    values = output or (np.zeros(head["kernel"].shape), np.zeros(head["bias"].shape))
    head["kernel"], head["bias"] = (jnp.asarray(value, jnp.float32) for value in values)
    return params, statistics


def _hear(
    config: ml_collections.ConfigDict,
    contract: Contract,
    models: Mapping[str, Trained],
    data: dataset.Dataset,
    cache: Path,
    console: Console,
) -> Heard:
    """The features of all labelled clips of train that can be read, chunk by chunk."""
    records = data.split("train")
    rows = np.flatnonzero((records.label_mask > 0) & ~records.soft)
    if not len(rows):
        raise ValueError("no record of the train split has labels; name their column")
    places = {name: cache / _digest(contract, models.get(name)) for name in _parts(config)}
    for folder in places.values():
        folder.mkdir(parents=True, exist_ok=True)
    bad, compute = BadRecords(None), _computing(config, contract, models)
    reader = Reader(contract.spectrogram.sample_rate, contract.segmenting)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in places}
    kept, shown = [], track(rows, "features", len(rows), "clips", console=console)
    for row in shown:
        record = records.records[row]
        try:
            found = _of_record(record, reader, places, compute)
        except AudioError as error:
            bad.add(record, error)
            continue
        for name, values in found.items():
            parts[name].append(values)
        kept += [row] * len(next(iter(found.values())))
    if len(bad) > config.data.max_bad_share * len(rows):
        raise ValueError(
            f"{len(bad)} of {len(rows)} clips cannot be read, the first: {bad.first}; mend them,"
            " or raise config.data.max_bad_share"
        )
    named = [records.records[row].group or records.records[row].id for row in kept]
    return Heard(
        {name: np.concatenate(values) for name, values in parts.items()},
        records.labels[kept].astype(np.float64),
        np.unique(named, return_inverse=True)[1],
    )


def _parts(config: ml_collections.ConfigDict) -> list[str]:
    return [*config.probe.ears, *([MFCC] if config.probe.mfcc else [])]


def _computing(
    config: ml_collections.ConfigDict, contract: Contract, models: Mapping[str, Trained]
) -> Callable[[np.ndarray, np.ndarray], Parts]:
    """What gives the features of chunks (K, N), of which so many samples (K,) are real."""
    from flax import nnx

    definition = split(abstract(config, contract))[0]
    state = _filled(config, contract, models)

    @jax.jit
    def step(params: dict, statistics: dict, waveform: jax.Array, samples: jax.Array) -> dict:
        learner = nnx.merge(definition, params, statistics)
        batch = {"waveform": waveform[:, None], "samples": samples[:, None]}
        return learner.model.features(batch | {"segment_mask": (samples > 0)[:, None] * 1.0})

    rate = contract.spectrogram.sample_rate

    def compute(waveform: np.ndarray, samples: np.ndarray) -> Parts:
        # Silence behind a clip counts for nothing, but takes time; 1, 2, 4, ... seconds are heard.
        seconds = 2 ** math.ceil(math.log2(max(samples.max() / rate, 1)))
        found = jax.device_get(step(*state, waveform[:, : seconds * rate], samples))
        return {name: np.asarray(values) for name, values in found.items()}

    return compute


def _of_record(
    record: Record,
    reader: Reader,
    places: Mapping[str, Path],
    compute: Callable[[np.ndarray, np.ndarray], Parts],
) -> Parts:
    """The features (K, D_i) of the chunks of a record, kept or computed.

    Raises:
        AudioError: if it cannot be read.
    """
    count = reader.segmenting.count(reader.duration(record), reader.sample_rate)
    file = _file_of(record, reader.segmenting.seconds if count > 1 else None)
    known = {name: folder / file for name, folder in places.items()}
    if all(path.is_file() for path in known.values()):
        return {name: np.load(path) for name, path in known.items()}
    chunks = [reader.segments(record, chunk) for chunk in range(count)]
    waveform = np.concatenate([sound for sound, _ in chunks])
    samples = np.concatenate([real for _, real in chunks])
    found = compute(waveform, samples)
    for name, path in known.items():
        with whole_file.writing(path) as opened:
            np.save(opened, found[name])
    return found


def _digest(contract: Contract, model: Trained | None) -> str:
    """A name for all that features depend on but the clip: the sample rate, and the model."""
    found = hashlib.blake2b(digest_size=12)
    found.update(f"1 {contract.spectrogram.sample_rate}".encode())
    if model is not None:
        model.add_to(found)
    return found.hexdigest()


def _file_of(record: Record, seconds: float | None) -> str:
    """A name for a clip, which changes with its file, and the length of chunks if it has several.

    Of one chunk the length makes no difference: what is padding counts for nothing.
    """
    there = record.path.stat() if record.path.is_file() else None
    what = (
        str(record.path),
        there and (there.st_size, there.st_mtime_ns),
        record.start,
        record.duration,
        record.place,
        seconds,
    )
    return f"{hashlib.blake2b(repr(what).encode(), digest_size=12).hexdigest()}.npy"


def _standards(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse deviation (D,), 0 of what is the same everywhere."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-3)
    return mean, np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)


def _standardised(values: np.ndarray) -> np.ndarray:
    mean, scale = _standards(values)
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
    return features.weights(kernel), bias, *_standards(values)
