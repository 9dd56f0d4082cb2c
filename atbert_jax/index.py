"""Index recordings for search: `atbert index music/ --checkpoint runs/pretrain --output lib`.

Folders, files and manifests are told apart by what they are. The same command again brings the
index up to date: files that have not changed are not read, those that were moved are found again,
and what a kill interrupted goes on. The exit code is 1 if a file could not be read; `left_out.csv`
says why.
"""

from pathlib import Path

from absl import flags

from atbert_jax import command

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The model that embeds: its folder, or hub:owner/name."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the index.")
HOP = flags.DEFINE_float(
    "hop", None, "Seconds from one window of a file to the next; 0: its length.", lower_bound=0
)
ALLOW_OUTSIDE = flags.DEFINE_bool(
    "allow_outside", False, "Read files that manifests name outside of their own folder."
)
STEP = flags.DEFINE_integer("step", None, "Which checkpoint; by default the best one.")


def main(arguments: list[str]) -> None:
    """Brings the index up to date with what is named."""
    from atbert_jax.input_pipeline.progress import Terminal
    from atbert_jax.library import listing
    from atbert_jax.library.indexing import update
    from atbert_jax.training import trained
    from atbert_jax.weights import hub

    listed = listing.read(arguments, allow_outside=ALLOW_OUTSIDE.value)
    folder, console = Path(OUTPUT.value), Terminal()
    model = trained.load(hub.folder(CHECKPOINT.value), STEP.value)
    counts = update(model, folder, listed, hop=HOP.value, console=console)
    console.print(
        f"{folder}: {counts.heard} recordings embedded ({counts.windows} windows),"
        f" {counts.unchanged} unchanged, {counts.again} found again, {counts.removed} removed"
    )
    if counts.left_out:
        command.fail(
            f"{counts.left_out} files are left out; {folder / 'left_out.csv'} says which, and why",
            1,
        )


if __name__ == "__main__":
    command.run(main, required=("checkpoint", "output"), takes_arguments=True, resumes=True)
