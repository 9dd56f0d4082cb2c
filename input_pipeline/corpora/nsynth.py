"""NSynth (Engel et al. 2017): notes of 4 s, with the family of the instrument as the label.

Train has other instruments than val and test. Source, pitch, velocity and qualities of the notes
are columns of the manifest; `synth_lead` occurs in train alone.
"""

import json
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, require
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("",)
FAMILIES = (
    "bass",
    "brass",
    "flute",
    "guitar",
    "keyboard",
    "mallet",
    "organ",
    "reed",
    "string",
    "synth_lead",
    "vocal",
)
SPLITS = {"train": "train", "valid": "val", "test": "test"}
SOURCE = "https://magenta.tensorflow.org/datasets/nsynth"


def read(root: Path, variant: str) -> Corpus:
    """Reads `nsynth-train/examples.json` and so on; notes are `nsynth-train/audio/NOTE.wav`."""
    files = {f"nsynth-{name}/examples.json": split for name, split in SPLITS.items()}
    require(root, dict.fromkeys(files, f"the JSON/WAV archives of {SOURCE}"))
    rows = pd.concat([_read(root / file, split) for file, split in files.items()])
    return Corpus.of_files(
        root,
        rows,
        labels=FAMILIES,
        task="single_label",
        published={"train": 289_205, "val": 12_678, "test": 4_096},
    )


def _read(file: Path, split: str) -> pd.DataFrame:
    try:
        notes = json.loads(file.read_text(encoding="utf-8"))
        return pd.DataFrame(
            [
                {
                    "id": name,
                    "path": f"{file.parent.name}/audio/{name}.wav",
                    "label": FAMILIES[note["instrument_family"]],
                    "split": split,
                    "group": note["instrument_str"],
                    "source": note["instrument_source_str"],
                    "pitch": note["pitch"],
                    "velocity": note["velocity"],
                    "qualities": "|".join(note["qualities_str"]),
                }
                for name, note in notes.items()
            ]
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"not as published ({error!r}); get it from {SOURCE}"
        raise ManifestError(f"{file}: {reason}") from error
