"""Label audio by a model, for a noisy student to train on.

atbert pseudo_label --checkpoint runs/teacher --output pseudo.jsonl unlabelled.csv

The manifest that this writes goes beside a labelled one; see `evaluation/pseudo_labels.py`.
"""

from pathlib import Path

from absl import flags

from atbert_jax import command

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Folder of the teacher's run, or hub:owner/name."
)
OUTPUT = flags.DEFINE_string("output", None, "Manifest to write, with the extension .jsonl.")
CHUNKS = flags.DEFINE_bool("chunks", False, "Label every stretch of the model's length by itself.")
ALLOW_OUTSIDE = flags.DEFINE_bool(
    "allow_outside", False, "Read files that manifests name outside of their own folder."
)


def main(arguments: list[str]) -> None:
    """Labels the records of the manifests that the command line names."""
    from atbert_jax.evaluation import pseudo_labels
    from atbert_jax.input_pipeline.manifest.records import read_manifest
    from atbert_jax.weights import hub

    if not arguments:
        raise ValueError("nothing to label; name manifests of audio")
    # All tables before the output is begun: a wrong one leaves nothing behind.
    tables = [read_manifest(path, allow_outside=ALLOW_OUTSIDE.value) for path in arguments]
    records = [record for table in tables for record in table]
    teacher, output = hub.folder(CHECKPOINT.value), Path(OUTPUT.value)
    _, lost = pseudo_labels.write(teacher, output, records, chunks=CHUNKS.value)
    if lost:
        command.fail(f"{lost} records could not be read and have no row in {output}", 1)


if __name__ == "__main__":
    command.run(main, required=("checkpoint", "output"), takes_arguments=True)
