"""What a run reads: its data, with the preprocessing that they keep, and batches of them."""

from pathlib import Path
from typing import TYPE_CHECKING

import ml_collections
from jax.sharding import Mesh
from rich.console import Console

from atbert_jax import models
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.parallel import distributed, sharding
from atbert_jax.training import run_folder, transfer

if TYPE_CHECKING:
    from atbert_jax.input_pipeline.batching.batches import Batches


def make_mesh(config: ml_collections.ConfigDict) -> Mesh:
    """The devices of a run.

    Raises:
        ValueError: if its batches cannot be split over them, or the processes do not read each row.
    """
    mesh, train = sharding.make_mesh(config.sharding), config.train
    sharding.require_divisible(train.batch_size, mesh, "config.train.batch_size", train.accumulate)
    sharding.require_divisible(config.evaluation.batch_size, mesh, "config.evaluation.batch_size")
    sharding.require_all_rows(mesh, train.batch_size)
    return mesh


def load(
    config: ml_collections.ConfigDict, workdir: Path, console: Console, preprocessing: Path | None
) -> Dataset:
    """The data; `preprocessing` is the run whose contract and tokenizer they have, None a new one.

    Raises:
        ValueError: if the config or the manifest is not as it should be.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with console.status("reading the manifest and measuring the audio"):
        if distributed.is_first():
            dataset = _read(config, workdir, preprocessing)
            run_folder.save_preprocessing(workdir, dataset.contract, dataset.tokenizer)
        # What the first process measured and trained, the others take.
        distributed.wait_for_all("preprocessing")
        if not distributed.is_first():
            dataset = _read(config, workdir, workdir)
    dataset.split("train"), dataset.split("val")
    return dataset


def _read(config: ml_collections.ConfigDict, workdir: Path, preprocessing: Path | None) -> Dataset:
    from atbert_jax.input_pipeline import dataset
    from atbert_jax.input_pipeline.batching import batches

    contract = tokenizer = None
    if preprocessing:
        contract, tokenizer = run_folder.load_preprocessing(preprocessing)
    return dataset.load(
        config,
        workdir,
        contract=contract,
        tokenizer=tokenizer,
        measure=lambda data: batches.measure_normalization(config, data),
        renew_labels=transfer.is_start(config, preprocessing),
    )


def make_batches(config: ml_collections.ConfigDict, dataset: Dataset, workdir: Path) -> "Batches":
    """What makes the batches; records that cannot be read are listed in the run's folder.

    Raises:
        ValueError: if a setting is wrong; the message names the field.
    """
    # TensorFlow is imported here, where data is read, and nowhere else in this package.
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    bad_records = BadRecords(workdir if distributed.is_first() else None)
    any_length = models.trunk_class(config.model.name).any_length
    return Batches(config, dataset, bad_records, any_length=any_length)
