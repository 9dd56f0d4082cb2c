"""Evaluate a checkpoint: `atbert evaluate --checkpoint runs/genre --output reports`.

The checkpoint folder says which manifest it was trained on; another one can be given. Pre-trained
models are asked to find clips by their texts and texts by their clips, and with `--zero_shot` to
tell the manifest's labels by their names. `--label_curve` says what the frozen trunk is worth with
few labels. `--robustness` perturbs the clips before they are heard, `--also_text_column` reads
other texts of the same records.
"""

from pathlib import Path

from absl import flags

from atbert_jax import command

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Folder that a training run wrote, or hub:owner/name."
)
SPLIT = flags.DEFINE_enum("split", "test", ["train", "val", "test"], "What to evaluate on.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for the report, its numbers and predictions.")
MANIFEST = flags.DEFINE_string("manifest", None, "Another manifest than the one of the training.")
ROOT = flags.DEFINE_string("root", None, "Folder that the manifest's paths are relative to.")
ALLOW_OUTSIDE = flags.DEFINE_bool(
    "allow_outside", None, "Read files that the manifest names outside of its own folder."
)
STEP = flags.DEFINE_integer("step", None, "Which checkpoint; by default the best one.")
BASELINE = flags.DEFINE_bool("baseline", True, "Fit the MFCC baseline as well.")
RERANK = flags.DEFINE_integer(
    "rerank",
    None,
    "Candidates of a search that the pair head puts in order, also where that does not help on the"
    " validation split; 0: none.",
    lower_bound=0,
)
HOP = flags.DEFINE_float(
    "hop", None, "Seconds from one chunk of a clip to the next; 0: its length.", lower_bound=0
)
CHUNKS = flags.DEFINE_integer(
    "chunks", None, "Evenly spaced chunks of each clip; 0: consecutive ones.", lower_bound=0
)
PERTURB = flags.DEFINE_string(
    "perturb", None, "Change the clips, as stretch:1.414, pitch:-1, compress:radio or noise:0.4."
)
ROBUSTNESS = flags.DEFINE_bool("robustness", False, "Measure on all kinds of perturbed clips, too.")
ALSO_TEXT_COLUMN = flags.DEFINE_string(
    "also_text_column", "", "Measure with the texts of this column, too, as recognised speech."
)
CORRELATIONS = flags.DEFINE_bool(
    "correlations", False, "Correlate hidden units with features, where the model hears those."
)
ZERO_SHOT = flags.DEFINE_bool("zero_shot", False, "Tell labels by their names, untrained.")
TEMPLATE = flags.DEFINE_string("template", "{}", "A label's text for --zero_shot, as 'a {} track'.")
LABEL_CURVE = flags.DEFINE_bool(
    "label_curve", False, "Fit linear models on frozen features with 1, 2, 5, ... labels per class."
)
DRAWS = flags.DEFINE_integer(
    "draws", 5, "Draws of the labelled clips for each number of --label_curve.", lower_bound=1
)
CACHE = flags.DEFINE_string(
    "cache", "~/.cache/atbert_jax/features", "Folder where the features of --label_curve are kept."
)
CHUNK_PREDICTIONS = flags.DEFINE_bool(
    "chunk_predictions", False, "Write what is said of each chunk of a clip, too."
)
EMBED_AUDIO = flags.DEFINE_bool(
    "embed_audio", False, "Put short excerpts of what the report plays into it, not links to files."
)


def main() -> None:
    """Evaluates and writes the report."""
    if flags.FLAGS["template"].present and not ZERO_SHOT.value:
        raise ValueError("--template is the text of a label; it needs --zero_shot")
    if flags.FLAGS["draws"].present and not LABEL_CURVE.value:
        raise ValueError("--draws are those of the labelled clips; it needs --label_curve")
    if PERTURB.value and ROBUSTNESS.value:
        raise ValueError("--robustness perturbs the clips by itself; leave --perturb out")
    from atbert_jax.evaluation.evaluate_run import evaluate
    from atbert_jax.input_pipeline.manifest.perturbation import Perturbation
    from atbert_jax.weights import hub

    data = {
        "manifest": MANIFEST.value,
        "root": ROOT.value,
        "allow_outside": ALLOW_OUTSIDE.value,
    }
    evaluate(
        hub.folder(CHECKPOINT.value),
        SPLIT.value,
        Path(OUTPUT.value),
        data={name: value for name, value in data.items() if value is not None},
        step=STEP.value,
        hop=HOP.value,
        chunks=CHUNKS.value,
        perturbation=Perturbation.parse(PERTURB.value) if PERTURB.value else None,
        with_robustness=ROBUSTNESS.value,
        also_text_column=ALSO_TEXT_COLUMN.value,
        with_correlations=CORRELATIONS.value,
        with_baseline=BASELINE.value,
        rerank=RERANK.value,
        label_draws=DRAWS.value if LABEL_CURVE.value else 0,
        cache=Path(CACHE.value).expanduser(),
        template=TEMPLATE.value if ZERO_SHOT.value else None,
        with_chunk_predictions=CHUNK_PREDICTIONS.value,
        embed_audio=EMBED_AUDIO.value,
    )


if __name__ == "__main__":
    command.run(main, required=("checkpoint", "output"))
