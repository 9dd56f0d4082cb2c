"""What a training step takes, on this machine, with data that is made up; one line of JSON.

PYTHONPATH=. python benchmarks/train_step.py --config atbert_pretrain:base \
    --batch 2 --segments 2 --mels 32 --frames 48

Any field of the config can be set as in training, `--config.model.dtype=bfloat16` for one. The line
says, in seconds, how long the step takes to compile and the median and quartiles of what it takes
to run, to the loss on the host; clips per second; bytes at the peak; and the model FLOPs
utilisation: floating point operations of the program, before XLA makes it faster, by the step's
time, over the rate that this chip reaches in the product of two large matrices of the same type.
"""

import json
import resource
import sys
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags

from atbert_jax import command
from atbert_jax.parallel import sharding
from atbert_jax.training import optimizer
from atbert_jax.training.state import initialize, lay_out
from atbert_jax.training.step import make_train_step
from benchmarks import contracts, sizes

CONFIG = config_flags.DEFINE_config_file("config", "configs/atbert_pretrain.py:base")
STEPS = flags.DEFINE_integer("steps", 10, "How many are timed.")

WARM_UP = 3
# Sides of the matrices by platform: large enough that the rate does not grow any more.
MATRIX = {"cpu": 2048, "gpu": 8192, "tpu": 8192}


def matrix_rate(dtype: str) -> float:
    """FLOP/s of the best of ten products of two square matrices."""
    side = MATRIX[jax.default_backend()]
    matrix = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    times = []
    for _ in range(10):
        began = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times)


def peak_bytes() -> int:
    """Of the device's memory; of this process where the device has none of its own."""
    statistics = jax.devices()[0].memory_stats()
    if statistics:
        return statistics["peak_bytes_in_use"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(config: ml_collections.ConfigDict, steps: int) -> dict[str, object]:
    """Compiles and times the step of a config."""
    contract, mesh = contracts.made_up(config), sharding.make_mesh(config.sharding)
    updates = optimizer.build(config.optimizer, config.train.steps)
    layout = lay_out(config, contract, updates, mesh)
    definition, state = initialize(config, contract, updates, layout)
    step = make_train_step(config, definition, updates, mesh, layout)
    batch = sharding.put(contracts.made_up_batch(config, contract), mesh)
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    lowered = step.func.lower(*step.args, state, batch)
    began = time.perf_counter()
    compiled = lowered.compile()
    compilation = time.perf_counter() - began
    times = []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        state, metrics = compiled(*step.args, state, batch)
        loss = float(metrics["loss"])
        times.append(time.perf_counter() - began)
    quartiles = np.percentile(times[WARM_UP:], (25, 50, 75))
    flops = float(lowered.cost_analysis()["flops"])
    rate = matrix_rate(config.model.dtype)
    return {
        "engine": "jax",
        "device": f"{mesh.size} x {jax.devices()[0].device_kind}",
        "dtype": config.model.dtype,
        "params": parameters,
        "compile_s": compilation,
        "step_s": quartiles[1],
        "step_s_quartiles": [quartiles[0], quartiles[2]],
        "clips_per_s": config.train.batch_size / quartiles[1],
        "peak_bytes": peak_bytes(),
        "flops_per_step": flops,
        "matrix_flops_per_s": rate,
        "mfu": flops / quartiles[1] / (rate * mesh.size),
        "loss": loss,
    }


def main() -> None:
    """Prints the line."""
    # A program that is found in the cache is not compiled.
    jax.config.update("jax_enable_compilation_cache", False)
    print(json.dumps(measure(sizes.sized(CONFIG.value), STEPS.value)))


if __name__ == "__main__":
    command.run(main)
