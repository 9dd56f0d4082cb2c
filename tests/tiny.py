"""A config, a contract and batches so small that a model of them compiles in seconds."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx
from rich.console import Console

from atbert_jax.configs import defaults
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import Contract, Labels, Normalization
from atbert_jax.models.keys import Keys
from atbert_jax.parallel import sharding
from atbert_jax.training import inputs, optimizer, run_folder, starting
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import TrainState, fresh, initialize, lay_out, split
from atbert_jax.training.step import make_train_step

# Tests compile much and compute little: this halves the time that XLA takes.
jax.config.update("jax_disable_most_optimizations", True)

SEGMENTS, BANDS, FRAMES = 3, 8, 8
TOKENS, VOCABULARY = 6, 24
LABELS = ("low", "middle", "high")

# Fields of the config, by their dotted names.
MODEL = {
    "model.depths": (1,),
    "model.width": 4,
    "model.hidden": 16,
    "model.heads": 2,
    "model.layers": 1,
    "model.ffn": 32,
    "model.embedding": 8,
}


def make_config(**changes: object) -> ml_collections.ConfigDict:
    """The defaults with a tiny model without dropout; `changes` by their dotted names."""
    config = defaults.get_config("tiny")
    config.update_from_flattened_dict(MODEL)
    config.model.dropout = config.classification.dropout = 0.0
    config.update_from_flattened_dict(changes)
    return config


def make_contract(task: str = "single_label", **changes: object) -> Contract:
    """Of log-mels (3, 8, 8) and 6 tokens; `changes` are fields of the contract."""
    numbers = {"mean": (1.0, 2.0, 3.0), "std": (10.0, 0.1, 1.0)} if task == "regression" else {}
    fields = {
        "spectrogram": Spectrogram(8000, n_fft=64, hop_length=32, n_mels=BANDS, frames=FRAMES),
        "segmenting": Segmenting(SEGMENTS, 0.032),
        "normalization": Normalization("none"),
        "max_tokens": TOKENS,
        "vocabulary": VOCABULARY,
        "labels": Labels(task, LABELS if task else (), **numbers),
    }
    return Contract(**fields | changes)


def make_batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random clips of 1 to 3 segments, with texts of 3 to 6 tokens and one label each."""
    rng = np.random.default_rng(seed)
    segments, tokens = rng.integers(1, SEGMENTS + 1, rows), rng.integers(3, TOKENS + 1, rows)
    length = make_contract().segmenting.samples(8000)
    samples = length * segments - np.arange(rows) % length  # most clips end within a segment
    starts = length * np.arange(SEGMENTS)
    return {
        "log_mel": rng.normal(size=(rows, SEGMENTS, BANDS, FRAMES)).astype(np.float32),
        "samples": np.clip(samples[:, None] - starts, 0, length).astype(np.int32),
        "segment_mask": (np.arange(SEGMENTS) < segments[:, None]).astype(np.float32),
        "token_ids": rng.integers(5, VOCABULARY, (rows, TOKENS)).astype(np.int32),
        "token_mask": (np.arange(TOKENS) < tokens[:, None]).astype(np.float32),
        "labels": np.eye(len(LABELS), dtype=np.float32)[rng.integers(0, len(LABELS), rows)],
        "label_mask": np.ones(rows, np.float32),
        "record": np.arange(rows, dtype=np.int32),
        "valid": np.ones(rows, np.float32),
    }


def make_module(build: Callable[[], nnx.Module], seed: int = 0) -> nnx.Module:
    """A module with random arrays by numpy, none of them 0 as fresh scales and biases are.

    Filling shapes compiles nothing; building the module itself would compile every operation.
    """
    rng = np.random.default_rng(seed)

    def fill(path: tuple, like: jax.ShapeDtypeStruct) -> jax.Array:
        noise = rng.normal(size=like.shape)
        if path[-1].key == "kernel":
            noise /= np.sqrt(np.prod(like.shape[:-1]))
        elif path[-1].key == "var":
            noise = rng.uniform(0.5, 1.5, like.shape)
        else:
            noise = 0.3 * noise + (path[-1].key == "scale")
        return jnp.asarray(noise, like.dtype)

    module = nnx.eval_shape(build)
    state = nnx.to_pure_dict(nnx.state(module))
    nnx.update(module, jax.tree_util.tree_map_with_path(fill, state))
    return module


def compiled(objective: nnx.Module) -> nnx.Module:
    """The objective with each of its calls as one program, whose answers are numpy's.

    Called as it is, every operation would be compiled by itself, and again for every shape. Its
    parameters are constants of the programs: they are not to be changed from here on.
    """
    for name, static in (("corrupt", ()), ("loss", 0), ("predict", 0)):
        setattr(objective, name, one_program(getattr(objective, name), static))
    return objective


def one_program(call: Callable, static: int | tuple[int, ...] = ()) -> Callable:
    """The call as one program for each shape, whose answers are numpy's.

    The arguments at the places `static` are no arrays.
    """
    run = jax.jit(call, static_argnums=static)
    return lambda *given: jax.device_get(run(*given))


def save_run(workdir: Path, config: ml_collections.ConfigDict, seed: int = 0) -> None:
    """A run's folder as training leaves it, of a network with random weights."""
    data = dataset.load(config, workdir)
    learner = make_module(lambda: Learner(config, data.contract, rngs=Keys(0)), seed)
    _, params, statistics = split(learner)
    checkpoints = Checkpoints(workdir)
    checkpoints.save(fresh(params, statistics, optax.adam(0.1)), 0.0)
    checkpoints.close()
    run_folder.save_run(workdir, config, data.contract, data.tokenizer)


def start(config: ml_collections.ConfigDict, workdir: Path, console: Console) -> TrainState:
    """The state that a run of this config takes its first step with."""
    mesh, updates = inputs.make_mesh(config), optimizer.build(config.optimizer, config.train.steps)
    data = inputs.load(config, workdir, console, starting.preprocessing(config, workdir))
    layout = lay_out(config, data.contract, updates, mesh)
    _, state = initialize(config, data.contract, updates, layout)
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        return starting.start(state, checkpoints, config, data, console)[0]


def count(module: nnx.Module) -> int:
    """Number of parameters; the module may be one of shapes alone."""
    return sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param)))


def named(tree: dict) -> dict[str, jax.Array]:
    """The arrays of nested dicts by names as `model/encoders/shared/layers/0/query/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


class Widths(NamedTuple):
    """What an objective asks of a trunk when it is made."""

    hidden: int
    embedding_widths: Mapping[str, int] = MappingProxyType({})
    modalities: tuple[str, ...] = ("audio", "text")
    activation: Callable = nnx.gelu

    @property
    def stream_widths(self) -> dict[str, int]:
        """Of audio and of text."""
        return {"audio": self.hidden, "text": self.hidden}


class Setup:
    """A tiny learner with its step."""

    def __init__(self, **changes: object) -> None:
        self.config = make_config(**changes)
        contract = make_contract()
        self.mesh = sharding.make_mesh(self.config.sharding)
        learner = make_module(lambda: Learner(self.config, contract, rngs=Keys(0)))
        self.frozen = learner.frozen
        self.definition, self.params, self.statistics = split(learner)
        self.optimizer = optimizer.build(self.config.optimizer, self.config.train.steps)
        self.layout = lay_out(self.config, contract, self.optimizer, self.mesh)
        self.step = make_train_step(
            self.config, self.definition, self.optimizer, self.mesh, self.layout
        )

    def state(self) -> TrainState:
        """A new one with arrays of its own, since a step consumes them."""
        params, statistics = jax.tree.map(jnp.copy, (self.params, self.statistics))
        state = fresh(params, statistics, self.optimizer, self.frozen)
        return jax.device_put(state, self.layout.state)

    def put(self, batch):
        return sharding.put(batch, self.mesh)
