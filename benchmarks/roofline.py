"""What each part of a training step computes and moves, and what a chip would be bound by.

PYTHONPATH=. python benchmarks/roofline.py --config configs/atbert_pretrain.py:base \
    --batch 8 --segments 10 --mels 128 --frames 220 --config.model.dtype=bfloat16

A part is traced, forward and backward. Operations are XLA's count of them. Bytes are what is moved
at least: what goes into the products of matrices and convolutions and comes out of them, as if all
else was fused into these, and the arrays that the part begins and ends with. The time is what the
part takes at least on a chip of `--peak` and `--bandwidth`. Nothing runs without `--run`, which
measures what each part takes here, too.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import app, flags
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Var
from ml_collections import config_flags
from rich.console import Console

from atbert_jax.evaluation.tables import Table, print_table
from atbert_jax.models.encoded import Encoded
from atbert_jax.training import optimizer
from atbert_jax.training.description import abstract_batch
from atbert_jax.training.state import define
from benchmarks import contracts, sizes

CONFIG = config_flags.DEFINE_config_file("config", "configs/atbert_pretrain.py:base")
PEAK = flags.DEFINE_float("peak", 989.0, "TFLOP/s; the default is an H100's in bfloat16.")
BANDWIDTH = flags.DEFINE_float("bandwidth", 3.35, "TB/s of its memory.")
RUN = flags.DEFINE_bool("run", False, "Run the parts and measure what they take.")

ROUNDS = 10
PRODUCTS = ("dot_general", "conv_general_dilated")
NESTED = (Jaxpr, ClosedJaxpr)


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


def traffic(jaxpr: Jaxpr) -> int:
    """Bytes of the operands and results of all products and convolutions."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in PRODUCTS:
            total += _bytes([*equation.invars, *equation.outvars])
        times = equation.params.get("length", 1)  # of a loop
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, NESTED)):
            if isinstance(inner, NESTED):
                total += times * traffic(getattr(inner, "jaxpr", inner))
    return total


def _bytes(variables: list[Var]) -> int:
    return sum(x.aval.size * x.aval.dtype.itemsize for x in variables)


def measured(program: jax.stages.Compiled, shapes: tuple) -> float:
    """Milliseconds that a program takes, the median of some rounds."""
    given = jax.tree.map(lambda like: jnp.ones(like.shape, like.dtype), shapes)
    times = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        jax.block_until_ready(program(*given))
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[1:]))


def main(_: list[str]) -> None:
    """Prints a row for each part."""
    config = sizes.sized(CONFIG.value)
    rows, console = [], Console(width=130)
    for name, (function, shapes) in parts(config).items():
        with console.status(name):
            traced = jax.jit(function).trace(*shapes)
            lowered, program = traced.lower(), traced.jaxpr.jaxpr
            flops = lowered.cost_analysis()["flops"]
            moved = traffic(program) + _bytes([*program.invars, *program.outvars])
            here = measured(lowered.compile(), shapes) if RUN.value else None
        seconds = flops / (PEAK.value * 1e12), moved / (BANDWIDTH.value * 1e12)
        bound = "computing" if seconds[0] > seconds[1] else "memory"
        rows.append(
            [name, flops / 1e9, moved / 1e9, flops / moved, bound, 1e3 * max(seconds), here]
        )
    columns = ("part", "GFLOP", "GB moved", "FLOP per byte", "bound by", "ms at least", "ms here")
    note = f"{PEAK.value:g} TFLOP/s and {BANDWIDTH.value:g} TB/s meet at"
    note += f" {PEAK.value / BANDWIDTH.value:.0f} FLOP per byte."
    print_table(Table("A step", columns, rows, note), console)


if __name__ == "__main__":
    app.run(main)
