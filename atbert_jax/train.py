"""Train a model: `python -m atbert_jax.train --config configs/atbert_pretrain.py --workdir DIR`.

Running the same command again goes on where it stopped.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from atbert_jax import command

CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder that the run writes into.")


def main() -> None:
    """Trains, and the same network from scratch too where the config asks for it."""
    from rich.console import Console

    from atbert_jax.training.checkpoint import SCRATCH
    from atbert_jax.training.loop import train

    console, workdir, config = Console(), Path(WORKDIR.value), CONFIG.value
    train(config, workdir, console)
    if config.init_from and config.scratch_twin:
        console.print("the same network from scratch, for comparison:")
        twin = config.copy_and_resolve_references()
        twin.init_from = ""
        train(twin, workdir / SCRATCH, console, preprocessing=workdir)


if __name__ == "__main__":
    command.run(main, required=("config", "workdir"))
