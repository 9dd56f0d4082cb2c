"""What a step costs for each way of sharding, from the compiled program, and how it would scale.

JAX_NUM_CPU_DEVICES=8 PYTHONPATH=. python benchmarks/scale.py

Nothing runs: the step is compiled for the devices there are, emulated ones too. Efficiencies are a
projection: computing and sending do not overlap, a chip reaches `--utilization` of its peak, and
the bytes go round a ring at `--bandwidth`.
"""

import jax
from absl import flags
from ml_collections import config_flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.parallel import sharding
from atbert_jax.parallel.hlo import Program
from atbert_jax.reporting.tables import Table, print_table
from atbert_jax.training.description import compile_step
from benchmarks import contracts

CONFIG = config_flags.DEFINE_config_file("config", "configs/atbert_pretrain.py:base")
ROWS = flags.DEFINE_integer("rows", 8, "Rows of the batch for each device along `data`.")
PEAK = flags.DEFINE_float("peak", 197.0, "TFLOP/s of a chip; the default is TPU v5e in bfloat16.")
UTILIZATION = flags.DEFINE_float("utilization", 0.4, "Share of the peak that a chip reaches.")
BANDWIDTH = flags.DEFINE_float("bandwidth", 45.0, "GB/s that a chip sends to one neighbour.")

# Name, devices along `model`, fsdp.
CHOICES = (("data", 1, False), ("fsdp", 1, True), ("data + tensor", 2, False), ("all", 2, True))
CHIPS = (8, 64, 256)


def main() -> None:
    """Prints one table."""
    # What the program computes and sends is settled before machine code is made of it.
    jax.config.update("jax_disable_most_optimizations", True)
    config = CONFIG.value
    contract = contracts.made_up(config)
    rows = []
    for name, model, fsdp in CHOICES:
        config.sharding.update({"data": -1, "model": model, "fsdp": fsdp})
        mesh = sharding.make_mesh(config.sharding)
        config.train.batch_size = ROWS.value * mesh.shape["data"]
        compiled, flops = compile_step(config, contract, mesh)
        sent = sum(part for _, part in Program(compiled.as_text()).traffic(mesh.size).values())
        seconds = flops / mesh.size / (PEAK.value * 1e12 * UTILIZATION.value)
        state = compiled.memory_analysis().argument_size_in_bytes
        rows.append(
            [
                name,
                flops / config.train.batch_size / 1e9,
                state / 2**20,
                sent / 2**20,
                *(_efficiency(seconds, sent, mesh.size, chips) for chips in CHIPS),
            ]
        )
    columns = ["sharding", "GFLOPs per example", "MiB state per chip", "MiB sent per step"]
    columns += [f"efficiency on {chips}" for chips in CHIPS]
    note = f"{mesh.size} devices compiled; {ROWS.value} rows for each along `data`."
    print_table(Table("Scale", columns, rows, note), Console(width=160))


def _efficiency(seconds: float, sent: float, compiled: int, chips: int) -> float:
    """Share of the time that is computing, when as many rows per chip run on more chips."""
    ring = ((chips - 1) / chips) / ((compiled - 1) / compiled)
    return seconds / (seconds + sent * ring / (BANDWIDTH.value * 1e9))


if __name__ == "__main__":
    command.run(main)
