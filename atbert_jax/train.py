"""Train a model: `python -m atbert_jax.train --config configs/atbert_pretrain.py --workdir DIR`.

Running the same command again goes on where it stopped. SIGTERM and Ctrl-C save the state at the
end of the step and leave with exit code 75; before the first step there is nothing to save. For
several hosts see `docs/scale.md`.
"""

import os
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from atbert_jax import command

CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder that the run writes into.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0.")
PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes.")
PROCESS = flags.DEFINE_integer("process", None, "Which one this is, from 0.")
DESCRIBE = flags.DEFINE_bool(
    "describe", False, "Print parameters, shardings and the cost of a step; do not train."
)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "With --describe: chips to compile for, h100x8 or v5e:4x4; none is needed."
)
PROFILE = flags.DEFINE_integer(
    "profile", 0, "Trace so many steps, for TensorBoard's profiler.", lower_bound=0
)


def main() -> None:
    """Trains what the flags say, or describes it."""
    from atbert_jax.input_pipeline.progress import Terminal
    from atbert_jax.parallel import distributed

    if TOPOLOGY.value and not DESCRIBE.value:
        raise ValueError("--topology only compiles; add --describe")
    distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    console = Terminal(quiet=not distributed.is_first())
    if flags_of_xla := os.environ.get("XLA_FLAGS"):
        console.print(f"XLA flags: {flags_of_xla} (set XLA_FLAGS to override)", soft_wrap=True)
    if DESCRIBE.value:
        from atbert_jax.training.description import describe

        describe(CONFIG.value, Path(WORKDIR.value), console, TOPOLOGY.value)
        return
    from atbert_jax.training.twin import train_with_twin

    train_with_twin(CONFIG.value, Path(WORKDIR.value), console, PROFILE.value)


if __name__ == "__main__":
    command.run(main, required=("config", "workdir"), resumes=True)
