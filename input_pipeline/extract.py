"""Prepare musical features: `python -m input_pipeline.extract tracks.csv features`.

Each record of the manifest becomes a file of frames (T, 324), float32 (see `music_features`), and
the manifest that names them, with all other columns as they were, is written beside. Records whose
file is there already are left alone, so the same command goes on where it was stopped. Those that
cannot be read are named and left out; the exit code is 1 then.
"""

from pathlib import Path

from absl import flags

from atbert_jax import command

ROOT = flags.DEFINE_string("root", None, "Folder that the manifest's paths are relative to.")
OUTSIDE = flags.DEFINE_bool("allow_outside", False, "Allow paths that lead out of it.")
PROCESSES = flags.DEFINE_integer(
    "processes", None, "How many; by default one for each core.", lower_bound=1
)


def main(arguments: list[str]) -> None:
    """Prepares."""
    from input_pipeline.preparation import prepare_all

    if len(arguments) != 2:
        raise ValueError("name a manifest, and a folder for the features")
    manifest, folder = map(Path, arguments)
    root = Path(ROOT.value) if ROOT.value else None
    failed = prepare_all(
        manifest, folder, root=root, allow_outside=OUTSIDE.value, processes=PROCESSES.value
    )
    if failed:
        command.fail(f"{failed} clips could not be read", 1)


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
