"""A trained model from its folder, ready to answer."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from atbert_jax.input_pipeline.contract import FILE, REMEDY, Contract
from atbert_jax.parallel import sharding
from atbert_jax.training import checkpoint, published, run_folder
from atbert_jax.training.learner import Batch, Learner
from atbert_jax.training.state import abstract, place, split
from atbert_jax.training.step import make_evaluation_step


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model with all that is needed to use it.

    Attributes:
        workdir: Its folder.
        step: Of the checkpoint.
        config: It was trained with, but that clips are not remembered: an answer hears each once.
        contract: What it must be fed, and what its outputs mean.
        tokenizer: Of its text.
        definition: Its structure.
        params: Its parameters, nested dicts.
        statistics: Its running statistics.
        mesh: Devices that its arrays are on.
    """

    workdir: Path
    step: int
    config: ml_collections.ConfigDict
    contract: Contract
    tokenizer: Any
    definition: nnx.GraphDef
    params: dict
    statistics: dict
    mesh: Mesh

    @property
    def learner(self) -> Learner:
        """The module itself, for what its objectives can do without a batch."""
        return nnx.merge(self.definition, self.params, self.statistics)

    @functools.cached_property
    def evaluate(self) -> Callable[[Batch], tuple]:
        """What `make_evaluation_step` gives, of these parameters; compiled once."""
        where = jax.tree.map(lambda x: x.sharding, self.params)
        step = make_evaluation_step(self.definition, self.mesh, where)
        return functools.partial(step, self.params, self.statistics)

    def add_to(self, digest: Any) -> None:
        """Adds to one of hashlib's digests all that embeddings depend on, but the clip."""
        digest.update(json.dumps(dataclasses.asdict(self.contract)).encode())
        digest.update(self.config.model.to_json().encode())
        for tree in (self.params["model"], self.statistics.get("model", {})):
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                digest.update(jax.tree_util.keystr(path).encode())
                digest.update(np.ascontiguousarray(leaf).tobytes())

    def save(self, folder: Path) -> None:
        """Writes it as a folder to give away (see `published`)."""
        arrays = jax.device_get((self.params, self.statistics))
        published.write(folder, self.config, self.contract, self.tokenizer, arrays, self.step)

    def chunked(self, hop: float | None = None, chunks: int | None = None) -> "Trained":
        """The same model that is asked about other chunks of each clip (see `Segmenting`).

        Args:
            hop: Seconds from one chunk to the next; 0 is the length of a chunk.
            chunks: Number of evenly spaced ones instead. Where both are None, all stays as it is.

        Raises:
            ValueError: if both are given, or clips are one chunk each ('spaced').
        """
        if hop is None and chunks is None:
            return self
        segmenting = dataclasses.replace(
            self.contract.segmenting, hop=hop or 0.0, chunks=chunks or 0
        )
        contract = dataclasses.replace(self.contract, segmenting=segmenting)
        return dataclasses.replace(self, contract=contract)


def load(workdir: Path, step: int | None = None) -> Trained:
    """Reads a model.

    Args:
        workdir: The folder that a training run wrote, or one that was given away (`published`).
        step: Which checkpoint; None is the best one.

    Raises:
        checkpoint.CheckpointError: if the folder is not that of a run, or has no such checkpoint.
    """
    config, contract, tokenizer = run_folder.load_run(workdir)
    config.data.memory_mb = 0
    given_away = published.is_one(workdir)
    if given_away:  # places that somebody else names are not looked up
        config = published.without_places(config)
    try:
        learner = abstract(config, contract)
        definition, params, statistics = split(learner)
        mesh = sharding.serving_mesh(config.sharding)
        where = place(learner, config, mesh, fsdp=config.sharding.fsdp)
    except Exception as error:  # whatever a damaged field makes of a model
        raise checkpoint.CheckpointError(
            f"{workdir}: {checkpoint.CONFIG} and {FILE} describe no model ({error}); {REMEDY}"
        ) from error
    targets = sharding.placed(params, where[0]), sharding.placed(statistics, where[1])
    if given_away:
        found, (params, statistics) = published.read(workdir, targets)
        if step not in (None, found):
            raise checkpoint.CheckpointError(f"{workdir}: is checkpoint {found}, and has no {step}")
        step = found
    else:
        step, (params, statistics) = _of_checkpoint(workdir, step, targets)
    return Trained(workdir, step, config, contract, tokenizer, definition, params, statistics, mesh)


def _of_checkpoint(
    workdir: Path, step: int | None, targets: tuple[dict, dict]
) -> tuple[int, tuple[dict, dict]]:
    with contextlib.closing(checkpoint.Checkpoints(workdir)) as checkpoints:

        def read(number: int) -> tuple[dict, dict]:
            return checkpoints.restore_model(number, *targets)

        return checkpoints.best_whole(read) if step is None else (step, read(step))
