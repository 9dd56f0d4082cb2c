"""Prepare musical features: `atbert extract tracks.csv features`.

Each record of the manifest becomes a file of frames (T, 324), float32, and the manifest that names
them, with all other columns as they were, is written beside. Settings of the features are flags, as
`--n_mels=64` (see `music_features.MusicFeatures`). Records whose file is there already are left
alone, so the same command goes on where it was stopped. Those that cannot be read are named and
left out; the exit code is 1 then.
"""

import argparse
import dataclasses
import sys

from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.manifest.places import from_home
from atbert_jax.input_pipeline.preparing.feature_files import write_all_features
from atbert_jax.input_pipeline.text.visible import visible


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors end it with one line and status 1."""
    parser = argparse.ArgumentParser(
        prog="atbert extract",
        description="Compute the musical features of all clips of a manifest.",
    )
    parser.add_argument("manifest", type=from_home, help="table of audio files")
    parser.add_argument("folder", type=from_home, help="for the features and their manifest")
    parser.add_argument("--root", type=from_home, help="folder that its paths start from")
    parser.add_argument("--allow_outside", action="store_true", help="allow paths out of it")
    parser.add_argument("--processes", type=int, help="how many; by default one for each core")
    settings = parser.add_argument_group("features", "as in config.features of the training")
    fields = dataclasses.fields(MusicFeatures)
    for field in fields:
        settings.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    given = vars(parser.parse_args(arguments))
    try:
        features = MusicFeatures(**{field.name: given.pop(field.name) for field in fields})
        failed = write_all_features(**given, settings=features)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {visible(str(error))}")
    if failed:
        sys.exit(f"error: {failed} clips could not be read")


if __name__ == "__main__":
    main()
