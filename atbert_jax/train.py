"""Train a model: `python -m atbert_jax.train --config configs/atbert_pretrain.py --workdir DIR`.

Running the same command again goes on where it stopped. SIGTERM and Ctrl-C save the state at the
end of the step and leave with exit code 75. For several hosts see `docs/scale.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from atbert_jax import command
from atbert_jax.training import distributed

if TYPE_CHECKING:
    import ml_collections
    from rich.console import Console

CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder that the run writes into.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0.")
PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes.")
PROCESS = flags.DEFINE_integer("process", None, "Which one this is, from 0.")
DESCRIBE = flags.DEFINE_bool(
    "describe", False, "Print parameters, shardings and the cost of a step; do not train."
)


def main() -> None:
    """Trains what the flags say, or describes it."""
    from rich.console import Console

    distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    if DESCRIBE.value:
        from atbert_jax.training.description import describe

        describe(CONFIG.value, Path(WORKDIR.value), Console())
        return
    train_with_twin(CONFIG.value, Path(WORKDIR.value), Console())


def train_with_twin(
    config: ml_collections.ConfigDict, workdir: Path, console: Console
) -> dict[str, float | None]:
    """Trains, and the same network from scratch too where the config asks for it.

    The twin has the same data, preprocessing and tokenizer; it lives in `workdir/scratch`. Whatever
    is frozen here, all of the twin is trained, at the rate of new parameters.

    Args:
        config: See `configs/defaults.py`.
        workdir: The run's folder.
        console: Where to talk.

    Returns:
        The best validation metrics of the run itself.
    """
    from atbert_jax.training.checkpoint import SCRATCH
    from atbert_jax.training.loop import train

    best = train(config, workdir, console)
    if config.init_from and config.scratch_twin:
        console.print("the same network from scratch, for comparison:")
        twin = config.copy_and_resolve_references()
        twin.init_from = ""
        # Nothing of it is pre-trained: a trunk that stays random would be no comparison.
        twin.optimizer.frozen, twin.optimizer.trunk_rate = (), 1.0
        train(twin, workdir / SCRATCH, console, preprocessing=workdir)
    return best


if __name__ == "__main__":
    command.run(main, required=("config", "workdir"))
