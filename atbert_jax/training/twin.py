"""A run, and the same network from scratch beside it: what pre-training is worth."""

from pathlib import Path

import ml_collections
from rich.console import Console

from atbert_jax.training.loop import train
from atbert_jax.training.run_folder import SCRATCH


def train_with_twin(
    config: ml_collections.ConfigDict, workdir: Path, console: Console, profile: int = 0
) -> dict[str, float | None]:
    """Trains, and the same network from scratch too where the config asks for it.

    The twin has the same data, preprocessing and tokenizer; it lives in `workdir/scratch`. Whatever
    is frozen here, all of the twin is trained, at the rate of new parameters.

    Args:
        config: See `configs/defaults.py`.
        workdir: The run's folder.
        console: Where to talk.
        profile: So many steps of the run itself are traced.

    Returns:
        The best validation metrics of the run itself.
    """
    best = train(config, workdir, console, profile=profile)
    if config.init_from and config.scratch_twin:
        console.print("the same network from scratch, for comparison:")
        twin = config.copy_and_resolve_references()
        twin.init_from = ""
        # Nothing of it is pre-trained: a trunk that stays random would be no comparison.
        twin.optimizer.frozen, twin.optimizer.trunk_rate = (), 1.0
        train(twin, workdir / SCRATCH, console, preprocessing=workdir)
    return best
