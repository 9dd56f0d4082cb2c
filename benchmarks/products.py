"""The products of matrices in an encoder's step, each alone in a program of JAX or of PyTorch.

PYTHONPATH=. python benchmarks/products.py --rows 6 --rows 64 --rows 140
PYTHONPATH=. python benchmarks/products.py --rows 6 --rows 64 --rows 140 --engine torch

A pass applies one layer again and again to so many rows (clips times positions): forward, for the
gradients of what it was given, and for those of its kernels, layer by layer or at once. So this is
the least that a pass takes with an engine's products, whatever is around them. PyTorch is asked for
only where it is the engine.
"""

import time
from collections.abc import Callable

import numpy as np
from absl import flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.reporting.tables import Table, print_table

ROWS = flags.DEFINE_multi_integer("rows", [6, 64, 140], "Of each pass, clips times positions.")
HIDDEN = flags.DEFINE_integer("hidden", 768, "Width of the layer.")
LAYERS = flags.DEFINE_integer("layers", 12, "How often it is applied.")
ENGINE = flags.DEFINE_enum("engine", "jax", ["jax", "torch"], "Whose products.")

ROUNDS = 15


def product(engine: str) -> Callable[[np.ndarray, np.ndarray], Callable[[], object]]:
    """Makes, of two matrices, what multiplies them."""
    if engine == "jax":
        import jax

        program = jax.jit(jax.numpy.matmul)

        def prepared(x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
            x, y = jax.device_put((x, y))
            return lambda: jax.block_until_ready(program(x, y))
    else:
        import torch

        def prepared(x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
            x, y = torch.from_numpy(x), torch.from_numpy(y)
            return lambda: torch.matmul(x, y)

    return prepared


def milliseconds(prepared: Callable, rows: int, inner: int, columns: int) -> float:
    """The median of some rounds of (rows, inner) by (inner, columns)."""
    multiply = prepared(np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32))
    times = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[1:]))


def main() -> None:
    """Prints a row for each pass."""
    hidden, layers = HIDDEN.value, LAYERS.value
    maps = [(hidden, hidden)] * 4 + [(hidden, 4 * hidden), (4 * hidden, hidden)]
    prepared, table = product(ENGINE.value), []
    for rows in ROWS.value:
        forward = sum(milliseconds(prepared, rows, c, d) for c, d in maps)
        backward = sum(milliseconds(prepared, rows, d, c) for c, d in maps)
        one_by_one = sum(milliseconds(prepared, c, rows, d) for c, d in maps)
        at_once = sum(milliseconds(prepared, c, layers * rows, d) for c, d in maps)
        inputs = layers * (forward + backward)
        table.append([rows, inputs, layers * one_by_one, at_once, inputs + at_once])
    columns = ("rows", "forward and inputs", "kernels by layer", "kernels at once", "least")
    print_table(
        Table(f"Milliseconds of products, {ENGINE.value}", columns, table), Console(width=100)
    )


if __name__ == "__main__":
    command.run(main)
