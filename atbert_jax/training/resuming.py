"""Whether a run may go on under a config."""

from pathlib import Path

import ml_collections

from atbert_jax.training import sameness
from atbert_jax.training.checkpoint import CheckpointError

# Fields that may change when a run goes on; any other would make it another run.
CHANGEABLE = (
    "train",
    "evaluation",
    "scratch_twin",
    "sharding",
    "data.memory_mb",
    "data.threads",
    "data.max_bad_share",
)


def require_same(
    old: ml_collections.ConfigDict, new: ml_collections.ConfigDict, workdir: Path
) -> None:
    """Refuses to go on with a run under another config.

    Splits that were drawn without stratifying, as in runs of before there was that, stay as they
    are: `new` says so then.

    Raises:
        CheckpointError: naming the fields that differ.
    """
    if "data" in old and not old.data.get("stratify", False):
        new.data.stratify = False
    differ = sameness.changes(sameness.fields(old), sameness.fields(new), CHANGEABLE)
    if differ:
        raise CheckpointError(
            f"{workdir} holds a run with another config ({differ}); use another --workdir, or the"
            " same config to go on"
        )
