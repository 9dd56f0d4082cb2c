"""Evaluate a checkpoint: `python -m atbert_jax.evaluate --checkpoint runs/genre --output reports`.

The checkpoint folder says which manifest it was trained on; another one can be given.
"""

from pathlib import Path

from absl import flags

from atbert_jax import command

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Folder that a training run wrote.")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "val", "test"], "What to evaluate on.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for report.html and metrics.json.")
MANIFEST = flags.DEFINE_string("manifest", None, "Another manifest than the one of the training.")
ROOT = flags.DEFINE_string("root", None, "Folder that the manifest's paths are relative to.")
STEP = flags.DEFINE_integer("step", None, "Which checkpoint; by default the best one.")
BASELINE = flags.DEFINE_bool("baseline", True, "Fit the MFCC baseline as well.")


def main() -> None:
    """Evaluates and writes the report."""
    from atbert_jax.evaluation.run import evaluate

    data = {"manifest": MANIFEST.value, "root": ROOT.value}
    evaluate(
        Path(CHECKPOINT.value),
        SPLIT.value,
        Path(OUTPUT.value),
        data={name: value for name, value in data.items() if value is not None},
        step=STEP.value,
        with_baseline=BASELINE.value,
    )


if __name__ == "__main__":
    command.run(main, required=("checkpoint", "output"))
