"""What each part of a training step computes and moves, and what a chip would be bound by.

PYTHONPATH=. python benchmarks/roofline.py --config atbert_pretrain:base \
    --batch 8 --segments 10 --mels 128 --frames 220 --config.model.dtype=bfloat16

A part, forward and backward, is compiled for the chip of `--topology`, which need not be here (see
`ahead_of_time.py`). Operations are XLA's count before it optimizes; bytes are what the instructions
of the compiled program read and write, as if nothing stayed in a cache. The time is what the part
takes at least by either, at the chip's published rates. `--run` measures what each takes here, too.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import flags
from flax import nnx
from ml_collections import config_flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.models.encoded import Encoded
from atbert_jax.parallel import sharding, topology
from atbert_jax.parallel.hlo import Program
from atbert_jax.reporting.tables import Table, print_table
from atbert_jax.training import optimizer
from atbert_jax.training.description import abstract_batch
from atbert_jax.training.state import define
from benchmarks import contracts, sizes

CONFIG = config_flags.DEFINE_config_file("config", "configs/atbert_pretrain.py:base")
TOPOLOGY = flags.DEFINE_string("topology", "h100", "A chip, as h100 or v5e:1x1.")
RUN = flags.DEFINE_bool("run", False, "Run the parts and measure what they take.")

ROUNDS = 10


def parts(config: ml_collections.ConfigDict) -> dict[str, tuple[Callable, tuple]]:
    """Functions of arrays, with the shapes of these, by what they are a part of."""
    contract = contracts.made_up(config)
    definition, params, statistics = define(config, contract)
    batch = abstract_batch(contract, config.data.input, config.train.batch_size)
    key = jax.random.key(0)

    def both_ways(part: Callable) -> Callable:
        """The part, and the gradients of the parameters and of what it hears."""

        def run(params: dict, statistics: dict, *given: jax.Array) -> tuple:
            def total(params: dict, *given: jax.Array) -> jax.Array:
                model = nnx.merge(definition, params, statistics).model
                return jnp.sum(part(model, *given).hidden.astype(jnp.float32) ** 2)

            return jax.grad(total, range(1 + len(given)))(params, *given)

        return run

    clips, tokens = config.train.batch_size, contract.max_tokens
    segments, width = contract.segmenting.segments, config.model.hidden
    dtype = jnp.dtype(config.model.dtype)

    def states(rows: int, length: int, size: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, length, size), dtype)

    # Each clip and each text is in a matching and in a mismatched pair.
    pairs = (states(2 * clips, segments + 1, width), states(2 * clips, tokens, width))

    def of(hidden: jax.Array) -> Encoded:
        return Encoded(hidden, jnp.ones(hidden.shape[:2]))

    def hear(model: nnx.Module, sound: jax.Array) -> Encoded:
        heard = {config.data.input: sound, "segment_mask": jnp.ones(sound.shape[:2])}
        return model.embed_audio(heard, key)

    updates = optimizer.build(config.optimizer, config.train.steps)

    def update(gradients: dict, state: tuple, params: dict) -> tuple:
        changes, state = updates.update(gradients, state, params)
        return optax.apply_updates(params, changes), state

    return {
        "ResNet over segments": (
            both_ways(hear),
            (params, statistics, batch[config.data.input]),
        ),
        "audio through the encoder": (
            both_ways(lambda model, x: model.contextualize_audio(of(x), key)),
            (params, statistics, states(clips, segments, width)),
        ),
        "text through the encoder": (
            both_ways(lambda model, x: model.contextualize_text(of(x), key)),
            (params, statistics, states(clips, tokens, config.model.embedding)),
        ),
        "pairs through the encoder": (
            both_ways(lambda model, x, y: model.fuse(of(x), of(y), key)),
            (params, statistics, *pairs),
        ),
        "optimizer": (update, (params, jax.eval_shape(updates.init, params), params)),
    }


def compiled(function: Callable, shapes: tuple, device: jax.Device) -> jax.stages.Compiled:
    """A function, compiled for a chip that need not be here."""
    whole = sharding.replicated(jax.sharding.Mesh([device], "x"))
    return topology.lower(jax.jit(function, in_shardings=whole), TOPOLOGY.value, *shapes).compile()


def measured(program: jax.stages.Compiled, shapes: tuple) -> float:
    """Milliseconds that a program takes, the median of some rounds."""
    given = jax.tree.map(lambda like: jnp.ones(like.shape, like.dtype), shapes)
    times = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        jax.block_until_ready(program(*given))
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[1:]))


def main() -> None:
    """Prints a row for each part."""
    chip, device = topology.chip(TOPOLOGY.value), topology.devices(TOPOLOGY.value)[0]
    rows, console = [], Console(width=130)
    for name, (function, shapes) in parts(sizes.sized(CONFIG.value)).items():
        with console.status(name):
            moved = Program(compiled(function, shapes, device).as_text()).bytes_moved()
            lowered = jax.jit(function).lower(*shapes)
            flops = lowered.cost_analysis()["flops"]
            here = measured(lowered.compile(), shapes) if RUN.value else None
        seconds = flops / chip.flops, moved / chip.bandwidth
        bound = "computing" if seconds[0] > seconds[1] else "memory"
        rows.append(
            [name, flops / 1e9, moved / 1e9, flops / moved, bound, 1e3 * max(seconds), here]
        )
    columns = ("part", "GFLOP", "GB moved", "FLOP per byte", "bound by", "ms at least", "ms here")
    note = f"{chip.flops / 1e12:g} TFLOP/s and {chip.bandwidth / 1e12:g} TB/s meet at"
    note += f" {chip.flops / chip.bandwidth:.0f} FLOP per byte."
    print_table(Table(f"A step on {TOPOLOGY.value}", columns, rows, note), console)


if __name__ == "__main__":
    command.run(main)
