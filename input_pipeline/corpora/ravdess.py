"""RAVDESS (Livingstone and Russo 2018): 24 actors speak and sing two sentences in 8 emotions.

All that is known of a recording is in its name, as in 03-01-06-01-02-01-12.wav: audio only, speech,
fearful, normal intensity, second sentence, first repetition, actor 12. The archives of speech and
song, each with `Actor_01` and so on, are unpacked in one folder or in one each; the variant is the
channel. There are no official splits; actors are groups, so that none is in two of those drawn.
"""

import re
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora import clips
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("speech", "song", "all")
# Actor 18 did not sing.
PUBLISHED = {"speech": 1440, "song": 1012, "all": 2452}
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SUNG = EMOTIONS[:6]
STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
CHANNELS, INTENSITIES = ("speech", "song"), ("normal", "strong")
NAME = re.compile(r"03-0([12])-0([1-8])-0([12])-0([12])-0([12])-(0[1-9]|1\d|2[0-4])")


def read(root: Path, variant: str) -> Corpus:
    """Finds the recordings; copies of one, which some archives have, are left out.

    Raises:
        ManifestError: if there is none.
    """
    rows: dict[str, dict[str, str]] = {}
    left_out = {}
    for path in clips.audio_files(root):
        name = Path(path).stem
        if not (found := NAME.fullmatch(name)):
            left_out[path] = "is not named as a recording of sound"
        elif name in rows:
            left_out[path] = f"is {rows[name]['path']} again"
        elif variant in ("all", CHANNELS[int(found[1]) - 1]):
            rows[name] = {"id": name, "path": path, **_describe(found)}
    if not rows:
        raise ManifestError(
            f"{root}: no recording such as Actor_01/03-01-01-01-01-01-01.wav below it; unpack"
            f" Audio_{variant.title()}_Actors_01-24.zip (of https://zenodo.org/records/1188976)"
        )
    return Corpus(
        pd.DataFrame(rows.values()),
        labels=SUNG if variant == "song" else EMOTIONS,
        task="single_label",
        published={"": PUBLISHED[variant]},
        left_out=left_out,
    )


def _describe(found: re.Match[str]) -> dict[str, str]:
    channel, emotion, intensity, statement, repetition = (
        int(part) - 1 for part in found.groups()[:5]
    )
    return {
        "text": STATEMENTS[statement],
        "label": EMOTIONS[emotion],
        "group": f"actor{found[6]}",
        "channel": CHANNELS[channel],
        "intensity": INTENSITIES[intensity],
        "repetition": str(repetition + 1),
        "sex": "male" if int(found[6]) % 2 else "female",
    }
