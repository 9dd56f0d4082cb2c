"""A manifest and frozen models -> a probe's folder: features, a linear model, and what it chose."""

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax import choices
from atbert_jax.evaluation import linear_fit
from atbert_jax.evaluation.probe_network import filled, of_length, with_ears
from atbert_jax.evaluation.probed_features import Heard, hear
from atbert_jax.evaluation.sentence_vectors import Sentences
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.dataset import Split
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.text import tokenization, whole_file
from atbert_jax.models.linear_probe import MFCC
from atbert_jax.reporting.tables import Table, print_table
from atbert_jax.training import checkpoint, optimizer, run_folder, trained
from atbert_jax.training.state import fresh
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
    config, sentences = _with_sentences(with_ears(config, models))
    tokenizer = sentences.tokenizer if sentences else tokenization.tokenizer_without_text()
    data = dataset.load(config, workdir.parent, tokenizer=tokenizer, contract=None)
    everything = [record for part in data.splits.values() for record in part.records]
    config, contract = of_length(config, data.contract, everything, console)
    fill = functools.partial(filled, config, contract, models, sentences)
    records, targets = _known(data.split("train"), sentences)
    heard = hear(config, contract, fill(), models, records, targets, cache, console)
    task = "regression" if sentences else contract.labels.task
    names, choice, rows = _choose(heard, task)
    learned = linear_fit.learn(heard.features(names), heard.targets, task, choice.penalty)
    config.probe.ears = {name: config.probe.ears[name] for name in names if name != MFCC}
    config.probe.mfcc = MFCC in names
    chosen = {
        "features": list(names),
        "penalty": choice.penalty,
        "clips": len(heard.targets),
        "compared": [dict(zip(("features", "penalty", "loss"), row, strict=True)) for row in rows],
    }
    params, statistics = fill(learned)
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


def _choose(heard: Heard, task: str) -> tuple[tuple[str, ...], linear_fit.Choice, list[list]]:
    """The features with the least loss, their penalty, and a row for each that were compared."""
    compared = {name: (name,) for name in heard.parts}
    if len(heard.parts) > 1:
        compared[TOGETHER] = tuple(heard.parts)
    found = {}
    for title, names in compared.items():
        features = linear_fit.Features(linear_fit.standardised(heard.features(names)))
        found[title] = linear_fit.choose(features.rotated, heard.targets, heard.groups, task)
    rows = [[title, choice.penalty, choice.loss] for title, choice in found.items()]
    measured = {title: each.loss for title, each in found.items() if each.loss is not None}
    # Where there is nothing to leave out, what is heard with is all there is.
    best = min(measured, key=measured.get) if measured else list(compared)[-1]
    return compared[best], found[best], rows
